"""The input of a plan: completed subtasks, final progress of the last one, and observation."""

from __future__ import annotations

from dataclasses import dataclass

from step_hrl.experts.scienceworld import facts, subtasks
from step_hrl.experts.scienceworld.screen import Scene
from step_hrl.experts.scienceworld.subtasks import Subtask


@dataclass(frozen=True)
class Situation:
    """The high level's state, parsed."""

    completed: tuple[str, ...]
    final_progress: str
    scene: Scene

    @property
    def facts(self) -> facts.Facts:
        """The facts of the last subtask's final progress."""
        return facts.parse(self.final_progress)

    def last(self, *kinds: str) -> Subtask | None:
        """The last completed subtask of these kinds."""
        read = (subtasks.read(text) for text in reversed(self.completed))
        return next((subtask for subtask in read if subtask.kind in kinds), None)

    def did(self, text: str) -> bool:
        """Whether this subtask was completed."""
        return text in self.completed

    def first_open(self, *subtasks: str) -> str | None:
        """The first of these subtasks that is not completed."""
        return next((subtask for subtask in subtasks if not self.did(subtask)), None)

    def go(self, room: str) -> str | None:
        """The subtask of going to a room; None in that room."""
        return None if self.scene.room == room else subtasks.say("go", room=room)
