"""A world whose things have other names: who is shown it must read what they are called, and whether they are there.

A model from scratch that sees the same homes again and again knows by heart what lies where, and says so whatever it
reads. In a home where mugs are called apples and their numbers are others every time, that helps it nothing. The names
are those of other things, not words that mean nothing: or it would learn to read those, and go on as before with all
that it knows.
"""

from __future__ import annotations

import random
import re
from collections.abc import Collection

from step_hrl.envs.base import Info, TextEnv
from step_hrl.types import Observation, Task

NUMBERED = 20
"""Numbers up to this, which tell alike things apart, become other numbers up to this."""


class OtherNames:
    """Another environment, but for the names and numbers of its things, in all that it says and is told."""

    def __init__(self, env: TextEnv, things: Collection[str], generator: random.Random) -> None:
        """Give each of the words that name things to one of them, by chance."""
        self._env = env
        there = sorted(things)
        generator.shuffle(there)
        self._there = dict(zip(sorted(things), there, strict=True))
        self._back = {name: thing for thing, name in self._there.items()}
        self._numbers = {thing: generator.sample(range(1, NUMBERED + 1), NUMBERED) for thing in sorted(things)}
        self._names = _named(things)

    def reset(self, task: Task, *, seed: int = 0) -> tuple[Observation, Info]:
        """Start a task; its instruction too has other names."""
        observation, info = self._env.reset(task, seed=seed)
        return self._seen(observation), {**info, "instruction": self.renamed(info["instruction"])}

    def step(self, action: str) -> tuple[Observation, float, bool, bool, Info]:
        """Act, in the names of this world."""
        observation, reward, terminated, truncated, info = self._env.step(self.original(action))
        return self._seen(observation), reward, terminated, truncated, info

    def renamed(self, text: str) -> str:
        """A text of the original world in the names of this one."""
        return self._names.sub(self._rename, text)

    def original(self, text: str) -> str:
        """A text in the names of this world as the original would say it."""
        return self._names.sub(self._restore, text)

    def _seen(self, observation: Observation) -> Observation:
        others = (observation.look, observation.inventory, observation.unabridged)
        return Observation(
            self.renamed(observation.text), *(None if text is None else self.renamed(text) for text in others)
        )

    def _rename(self, found: re.Match[str]) -> str:
        thing, number = found[1].lower(), found[2]
        name = _capitalised_as(found[1], self._there[thing])
        if number is None:
            return name
        small = 1 <= int(number) <= NUMBERED
        return f"{name} {self._numbers[thing][int(number) - 1] if small else number}"

    def _restore(self, found: re.Match[str]) -> str:
        thing, number = self._back[found[1].lower()], found[2]
        name = _capitalised_as(found[1], thing)
        if number is None:
            return name
        small = 1 <= int(number) <= NUMBERED
        return f"{name} {self._numbers[thing].index(int(number)) + 1 if small else number}"


def _named(words: Collection[str]) -> re.Pattern[str]:
    """One of the words, with its number where it has one."""
    longest_first = sorted(words, key=len, reverse=True)
    return re.compile(rf"\b({'|'.join(longest_first)})\b(?: (\d+)\b)?", re.IGNORECASE)


def _capitalised_as(given: str, name: str) -> str:
    return name.capitalize() if given[0].isupper() else name
