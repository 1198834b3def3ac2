"""Parse ALFWorld's texts: instructions into goals, observations into surroundings. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from step_hrl.errors import WorldError
from step_hrl.types import Observation

_TREAT = re.compile(r"put a (clean|hot|cool) (\w+) in (\w+)|(clean|heat|cool) some (\w+) and put it in (\w+)")
_ADJECTIVES = {"clean": "clean", "hot": "heat", "cool": "cool"}
_PUT_TWO = re.compile(r"(?:put two (\w+)|find two (\w+) and put them) in (\w+)")
_PUT_ONE = re.compile(r"put (?:a|some) (\w+) (?:in|on) (\w+)")
_EXAMINE = re.compile(r"(?:look at (\w+) under|examine the (\w+) with) the (\w+)")
_LOOK = re.compile(r"((?:At \w+ \d+: [^.]*\. )*)Room: (.*)\.")
_SIGHT = re.compile(r"At (\w+ \d+): ([^.]*)\.")
_SPAN = re.compile(r"(\w+) (\d+)(?:-(\d+))?")


class Goal(NamedTuple):
    """The goal of an instruction. ``how`` is ``put``, ``two``, ``clean``, ``heat``, ``cool`` or ``look``."""

    how: str
    thing: str
    place: str


class Surroundings(NamedTuple):
    """The content of an observation.

    ``here`` maps the furniture within reach to the visible objects (None: closed), ``room`` is all furniture of the
    room, ``held`` the held object.
    """

    here: Mapping[str, tuple[str, ...] | None]
    room: tuple[str, ...]
    held: str | None

    @property
    def in_sight(self) -> list[tuple[str, str]]:
        """The visible objects, each with its place."""
        return [(thing, place) for place, things in self.here.items() for thing in things or ()]

    @property
    def open_here(self) -> list[str]:
        """The furniture within reach whose objects are visible."""
        return [place for place, things in self.here.items() if things is not None]

    def first(self, kind: str) -> str:
        """The room's first piece of furniture of a kind; number 1 where it has none."""
        return next((name for name in self.room if kind_of(name) == kind), f"{kind} 1")


def read_instruction(instruction: str) -> Goal:
    """The goal of an instruction. Raises WorldError for an instruction that is not from ALFWorld.

    >>> read_instruction("put a hot mug in cabinet")
    Goal(how='heat', thing='mug', place='cabinet')
    """
    treat, two = _TREAT.fullmatch(instruction), _PUT_TWO.fullmatch(instruction)
    one, examine = _PUT_ONE.fullmatch(instruction), _EXAMINE.fullmatch(instruction)
    if treat is not None:
        return Goal(_ADJECTIVES[treat[1]], treat[2], treat[3]) if treat[1] else Goal(treat[4], treat[5], treat[6])
    if two is not None:
        return Goal("two", two[1] or two[2], two[3])
    if one is not None:
        return Goal("put", one[1], one[2])
    if examine is not None:
        return Goal("look", examine[1] or examine[2], examine[3])
    raise WorldError("alfworld expert", f"cannot read {instruction!r}", "give an instruction of ALFWorld's text games")


def read(observation: Observation) -> Surroundings:
    """The content of an observation. Raises WorldError for an observation that is not from ALFWorld."""
    match = _LOOK.fullmatch(observation.look or "")
    if match is None:
        raise WorldError("alfworld expert", f"cannot read {observation.look!r}", "give an observation of ALFWorld")
    here = {sight[1]: None if sight[2] == "closed" else tuple(names(sight[2])) for sight in _SIGHT.finditer(match[1])}
    return Surroundings(here, tuple(names(match[2])), observation.inventory or None)


def kind_of(name: str) -> str:
    """A name without its number."""
    return name.split(" ", 1)[0]


def names(listed: str) -> Iterator[str]:
    """The names in a list of names and ranges.

    >>> list(names("bed 1, drawer 1-2"))
    ['bed 1', 'drawer 1', 'drawer 2']
    """
    for match in _SPAN.finditer(listed):
        for number in range(int(match[2]), int(match[3] or match[2]) + 1):
            yield f"{match[1]} {number}"
