"""Writes an episode while it is being played: segments, steps, progress, rewards."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Protocol

from step_hrl.envs.base import TextEnv, TimeLimit
from step_hrl.experts.scienceworld import giving_up, progress
from step_hrl.experts.scienceworld.mistakes import slip
from step_hrl.prompts.low_level import Decision
from step_hrl.types import NOTHING, EndedBy, Episode, Observation, Segment, Step, Task

Chooser = Callable[[str, str, Observation], Decision | None]
"""From subtask, local progress and observation to the decision; None where there is none."""

EXPERT = "scienceworld rules 2"
"""Name and version of this expert, as provenance carries it."""

_IDLE_STEPS = 30
"""After so many steps with the same action and the same surroundings the play is given up."""


class GoldEnv(TextEnv, Protocol):
    """What the expert needs of the world: a TextEnv that also knows a solution of its own."""

    def gold_actions(self, task: Task) -> list[str]:
        """The world's own solution. Ends the running episode."""
        ...


class Recording:
    """One episode in the making. ``over`` once the world ended it, the limit was hit or nothing moves any more."""

    def __init__(
        self, env: TextEnv, task: Task, max_episode_steps: int, seed: int, perturbed: float = 0.0, repeat: int = 0
    ) -> None:
        self._env = TimeLimit(env, max_episode_steps)
        self._perturbed = perturbed
        self._mistakes = random.Random(f"{task.key} {seed} {repeat}")
        self._seed = seed
        self.observation, info = self._env.reset(task, seed=seed)
        self.task = Task(task.env, task.name, task.variation, task.split, str(info["instruction"]))
        self.segments: list[Segment] = []
        self.kinds: list[str] = []
        self.over = False
        self._score = 0.0
        self._success = False

    @property
    def completed(self) -> tuple[str, ...]:
        """The subtasks completed so far."""
        return tuple(segment.subtask for segment in self.segments)

    @property
    def final_progress(self) -> str:
        """The last subtask's final progress."""
        return self.segments[-1].final_progress if self.segments else NOTHING

    def wrong_subtask(self, subtask: str) -> str | None:
        """A subtask named by mistake instead of this one, in the share of them that are mistakes; else None."""
        if self._mistakes.random() >= self._perturbed:
            return None
        return giving_up.wrong_subtask(subtask, self.observation, self._mistakes)

    def run(self, subtask: str, kind: str, choose: Chooser, *, wrong_subtask: bool = False) -> None:
        """Play one subtask to its end and keep it as a segment; ``wrong_subtask`` says that it is a mistake."""
        first, steps, local_progress = self.observation, list[Step](), NOTHING
        ended_by: EndedBy = "limit"
        while not self.over:
            decision = choose(subtask, local_progress, self.observation)
            if decision is None:
                self.over = True
                break
            slipped = self._mistakes.random() < self._perturbed
            if slipped:
                decision = Decision(slip(kind, decision.action, self.observation, self._mistakes), False)
            step = self._step(subtask, local_progress, decision, slipped)
            steps.append(step)
            if decision.subtask_done:
                ended_by = "policy"
                break
            if step.terminated:
                ended_by = "episode"
            if step.next_local_progress is not None:
                local_progress = step.next_local_progress
                self.over = _idle(steps)
        if steps:
            self.segments.append(
                Segment(
                    subtask,
                    self.completed,
                    self.final_progress,
                    first,
                    tuple(steps),
                    ended_by,
                    is_noise=wrong_subtask or None,
                )
            )
            self.kinds.append(kind)

    def episode(self, path: str) -> Episode:
        """The finished episode; ``path`` says which path was played."""
        return Episode(
            id=f"expert/{self.task.split}/{self.task.key}/seed-{self._seed}",
            task=self.task,
            segments=tuple(self.segments),
            score=self._score,
            success=self._success,
            seed=self._seed,
            provenance={"agent": "expert", "expert": EXPERT, "path": path, "subtask_kinds": ",".join(self.kinds)},
        )

    def _step(self, subtask: str, local_progress: str, decision: Decision, slipped: bool) -> Step:
        before = self.observation
        self.observation, reward, terminated, truncated, info = self._env.step(decision.action)
        self._score, self._success = float(info["score"]), bool(info["success"])
        self.over = terminated or truncated
        after = None if self.over else progress.update(subtask, local_progress, decision.action, self.observation)
        return Step(
            observation=before,
            local_progress=local_progress,
            action=decision.action,
            subtask_done=decision.subtask_done,
            reward=reward,
            next_observation=self.observation,
            next_local_progress=after,
            is_valid_action=bool(info["is_valid_action"]),
            terminated=terminated,
            truncated=truncated,
            is_noise=slipped,
        )


def _idle(steps: list[Step]) -> bool:
    tail = steps[-_IDLE_STEPS:]
    return len(tail) == _IDLE_STEPS and len({(step.action, step.next_observation) for step in tail}) == 1
