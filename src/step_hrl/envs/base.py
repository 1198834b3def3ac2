"""What a world must offer, and the registry of worlds.

A :class:`World` is a small picklable description (it crosses process borders); ``open()`` starts in this process what
its environments share, such as a JVM, and the :class:`EnvFactory` it returns makes the environments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from step_hrl.types import Observation, Task

Info = dict[str, Any]
"""``reset`` fills ``instruction``; ``step`` fills ``score`` in [0, 1], ``success`` and ``is_valid_action``.

Under :class:`TimeLimit` ``step`` adds ``actions``; a world with a clock of its own adds ``ticks``.
"""


class TextEnv(Protocol):
    """One game at a time, in the shape of ``gymnasium.Env``."""

    def reset(self, task: Task, *, seed: int = 0) -> tuple[Observation, Info]:
        """Start the task afresh. Raises :class:`~step_hrl.errors.WorldError` where it does not exist."""
        ...

    def step(self, action: str) -> tuple[Observation, float, bool, bool, Info]:
        """Act; return observation, reward, terminated, truncated, info. Rewards sum to the final score."""
        ...


class EnvFactory(Protocol):
    """What the environments of one process share."""

    def env(self) -> TextEnv:
        """Make one more environment; call from the thread that opened the factory."""
        ...

    def close(self) -> None:
        """Stop whatever was started; safe to call twice."""
        ...


class World(Protocol):
    """A picklable description of a world: which tasks it has and how to open it."""

    @property
    def name(self) -> str:
        """The name tasks carry in ``Task.env``."""
        ...

    def tasks(self, split: str, names: Sequence[str] | None = None, per_task: int | None = None) -> list[Task]:
        """List a split's tasks, in a fixed order: all of them, or ``per_task`` spread evenly over each named task.

        Raises :class:`~step_hrl.errors.WorldError` for an unknown split or task name.
        """
        ...

    def provenance(self, split: str) -> dict[str, str]:
        """Versions and hashes that a result on this split must carry (package, simulator, manifest of the games)."""
        ...

    def open(self) -> EnvFactory:
        """Start what one process needs. Raises :class:`~step_hrl.errors.WorldError` where something is missing."""
        ...


UNREADABLE_TEXT = "The reply could not be read as an action."
"""What an agent observes after a reply that was not turned into an action."""


class TimeLimit:
    """Counts actions and truncates at a limit, whatever the world's own clock says.

    An agent that only talks nonsense must still come to an end, so unreadable replies count too: ``step(None)``
    leaves the world alone, repeats the last surroundings and reports ``is_valid_action=False``.
    """

    def __init__(self, env: TextEnv, limit: int) -> None:
        self._env = env
        self._limit = limit
        self._actions = 0
        self._last = Observation("")
        self._info: Info = {}

    @property
    def unlimited(self) -> TextEnv:
        """The environment as the world made it."""
        return self._env

    def reset(self, task: Task, *, seed: int = 0) -> tuple[Observation, Info]:
        """Start the task and the count afresh."""
        self._actions = 0
        self._last, self._info = self._env.reset(task, seed=seed)
        return self._last, self._info

    def step(self, action: str | None) -> tuple[Observation, float, bool, bool, Info]:
        """Act, or let an unreadable reply (None) pass; ``truncated`` from the limit on."""
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
    """Pick ``count`` of the items, spread evenly and always the same ones.

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
