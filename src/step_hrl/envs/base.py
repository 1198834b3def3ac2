"""Interfaces of worlds and environments, and the limit on episode length.

A :class:`World` is a small picklable description, which is sent to worker processes. ``open()`` starts the resources
that the environments of a process share, such as a JVM, and returns the :class:`EnvFactory` that creates environments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from step_hrl.types import Observation, Task

Info = dict[str, Any]
"""``reset`` returns ``instruction``; ``step`` returns ``score`` in [0, 1], ``success`` and ``is_valid_action``.

:class:`TimeLimit` adds ``actions``, the number of steps; a simulator with a clock adds ``ticks``.
"""


class TextEnv(Protocol):
    """An environment with the interface of ``gymnasium.Env``; plays one episode at a time."""

    def reset(self, task: Task, *, seed: int = 0) -> tuple[Observation, Info]:
        """Start an episode of the task. Raises :class:`~step_hrl.errors.WorldError` where it does not exist."""
        ...

    def step(self, action: str) -> tuple[Observation, float, bool, bool, Info]:
        """Execute an action; return observation, reward, terminated, truncated, info. Rewards sum to the score."""
        ...


class EnvFactory(Protocol):
    """Creates environments, and holds the resources that those of one process share."""

    def env(self) -> TextEnv:
        """Create an environment; call from the thread that opened the world."""
        ...

    def close(self) -> None:
        """Release the resources; may be called more than once."""
        ...


class World(Protocol):
    """A picklable description of a benchmark: its tasks and how to start its environments."""

    @property
    def name(self) -> str:
        """The name in ``Task.env`` of its tasks."""
        ...

    def tasks(self, split: str, names: Sequence[str] | None = None, per_task: int | None = None) -> list[Task]:
        """List a split's tasks in a fixed order: all, or ``per_task`` variations of each task, evenly spaced.

        Raises :class:`~step_hrl.errors.WorldError` for an unknown split or task name.
        """
        ...

    def provenance(self, split: str) -> dict[str, str]:
        """Versions and hashes to record with results on this split (package, simulator, manifest of the games)."""
        ...

    def open(self) -> EnvFactory:
        """Start the resources that this process's environments share. Raises WorldError where something is missing."""
        ...


UNREADABLE_TEXT = "The reply could not be read as an action."
"""Observation after an unreadable reply."""


class TimeLimit:
    """Counts actions and truncates the episode at a limit, independently of the simulator's clock.

    Unreadable replies count too, so that every episode ends: ``step(None)`` does not step the environment, repeats the
    last look and inventory, and reports ``is_valid_action=False``.
    """

    def __init__(self, env: TextEnv, limit: int) -> None:
        self._env = env
        self._limit = limit
        self._actions = 0
        self._last = Observation("")
        self._info: Info = {}

    @property
    def unlimited(self) -> TextEnv:
        """The environment without the limit."""
        return self._env

    def reset(self, task: Task, *, seed: int = 0) -> tuple[Observation, Info]:
        """Start an episode and reset the count."""
        self._actions = 0
        self._last, self._info = self._env.reset(task, seed=seed)
        return self._last, self._info

    def step(self, action: str | None) -> tuple[Observation, float, bool, bool, Info]:
        """Execute an action or count an unreadable reply (None); ``truncated`` from the limit on."""
        self._actions += 1
        if action is None:
            observation = Observation(UNREADABLE_TEXT, self._last.look, self._last.inventory)
            reward, terminated, truncated = 0.0, False, False
            info: Info = {"score": 0.0, "success": False, **self._info, "is_valid_action": False}
        else:
            observation, reward, terminated, truncated, info = self._env.step(action)
        self._last, self._info = observation, info
        truncated = truncated or (self._actions >= self._limit and not terminated)
        return observation, reward, terminated, truncated, {**info, "actions": self._actions}


def evenly(items: Sequence[int], count: int | None) -> list[int]:
    """Select ``count`` of the items, evenly spaced; None selects all.

    >>> evenly(range(10), 4)
    [0, 3, 6, 9]
    >>> evenly(range(3), 10)
    [0, 1, 2]
    """
    if count is None or count >= len(items):
        return list(items)
    if count == 1:
        return [items[0]]
    return [items[round(index * (len(items) - 1) / (count - 1))] for index in range(count)]
