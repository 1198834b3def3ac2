"""A small environment and an engine with scripted answers, for tests of the interaction loop."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from step_hrl.engines.base import Exchange
from step_hrl.envs.base import Info
from step_hrl.types import Ask, Observation, Role, Task, Usage, Utterance


@dataclass(frozen=True)
class CountingWorld:
    """A world whose score is the share of five ``count`` actions taken; other actions are invalid.

    ``die`` ends the worker process, ``hang`` sleeps for a minute, ``raise`` raises an exception.
    """

    @property
    def name(self) -> str:
        return "counting"

    def tasks(self, split: str, names: Sequence[str] | None = None, per_task: int | None = None) -> list[Task]:
        return [Task("counting", "count", variation, split) for variation in range(per_task or 3)]

    def provenance(self, split: str) -> dict[str, str]:
        return {"counting": "1"}

    def open(self) -> CountingFactory:
        return CountingFactory()


class CountingFactory:
    def env(self) -> CountingEnv:
        return CountingEnv()

    def close(self) -> None:
        pass


class CountingEnv:
    def __init__(self) -> None:
        self.count = 0

    def reset(self, task: Task, *, seed: int = 0) -> tuple[Observation, Info]:
        self.count = 0
        return self._observe("You begin."), {"instruction": f"Count to five ({task.variation})."}

    def step(self, action: str) -> tuple[Observation, float, bool, bool, Info]:
        if action == "die":
            os._exit(9)
        if action == "hang":
            time.sleep(60)
        if action == "raise":
            raise RuntimeError("the world broke")
        is_valid_action = action == "count"
        self.count += is_valid_action
        info: Info = {"score": self.count / 5, "success": self.count == 5, "is_valid_action": is_valid_action}
        text = f"You count to {self.count}." if is_valid_action else "Nothing happens."
        return self._observe(text), 0.2 * is_valid_action, self.count == 5, False, info

    def _observe(self, text: str) -> Observation:
        return Observation(text, f"room: {self.count} marks", "chalk")


@dataclass
class ScriptedEngine:
    """Answers asks with a function, counts characters as tokens, and records every batch."""

    answer: Callable[[Ask], str]
    batches: list[list[Ask]] = field(default_factory=list[list[Ask]])

    def generate(self, asks: Sequence[Ask]) -> list[Utterance]:
        self.batches.append(list(asks))
        return [Utterance(text, Usage(len(ask.prompt), 0, len(text))) for ask in asks for text in [self.answer(ask)]]

    def serve(self, exchange: Exchange) -> None:
        taken, finished = 0, list[tuple[int, Utterance]]()
        while asks := exchange(finished):
            finished = list(enumerate(self.generate(asks), taken))
            taken += len(asks)

    def provenance(self) -> dict[str, str]:
        return {"engine": "scripted"}


def count_well(ask: Ask) -> str:
    """Subtasks of two counts each."""
    if ask.role is Role.HIGH:
        return "count twice"
    if ask.role is Role.LOW:
        return "count; True" if "Progress: counted" in ask.prompt else "count; False"
    return "counted"
