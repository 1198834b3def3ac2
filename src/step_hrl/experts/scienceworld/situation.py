"""What a plan decides from: the completed subtasks, the last one's final progress and the screen."""

from __future__ import annotations

from dataclasses import dataclass

from step_hrl.experts.scienceworld import facts, subtasks
from step_hrl.experts.scienceworld.screen import Scene
from step_hrl.experts.scienceworld.subtasks import Subtask


@dataclass(frozen=True)
class Situation:
    """The high level's state, taken apart."""

    completed: tuple[str, ...]
    final_progress: str
    scene: Scene

    @property
    def facts(self) -> facts.Facts:
        """Facts of the last subtask's final progress."""
        return facts.parse(self.final_progress)

    def last(self, *kinds: str) -> Subtask | None:
        """The last completed subtask of these kinds."""
        read = (subtasks.read(text) for text in reversed(self.completed))
        return next((subtask for subtask in read if subtask.kind in kinds), None)

    def did(self, text: str) -> bool:
        """Whether this very subtask was completed."""
        return text in self.completed

    def go(self, room: str) -> str | None:
        """The subtask of going to a room; None where one is in it already."""
        return None if self.scene.room == room else subtasks.say("go", room=room)
