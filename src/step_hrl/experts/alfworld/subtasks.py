"""The subtasks of ALFWorld's expert and their text format. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

from step_hrl.experts.alfworld.texts import kind_of

_FIND = re.compile(r"find (\w+)(?:, not (\w+ \d+), from (\w+ \d+) on)?")
_USE = re.compile(r"(clean|heat|cool) (\w+ \d+)|put (\w+ \d+)(?: from (\w+ \d+))? in (\w+ \d+)")
_LOOK = re.compile(r"look (\w+ \d+) under (\w+)")


class Find(NamedTuple):
    """Find and take an object of a kind; for a second one, excludes the first and searches from its place on."""

    kind: str
    done_with: str | None = None
    start: str | None = None

    def __str__(self) -> str:
        return f"find {self.kind}" + (f", not {self.done_with}, from {self.start} on" if self.done_with else "")

    def wants(self, name: str) -> bool:
        """Whether this object is of the kind and not the excluded one."""
        return kind_of(name) == self.kind and name != self.done_with


class Treat(NamedTuple):
    """``clean``, ``heat`` or ``cool`` the held object."""

    how: str
    thing: str

    def __str__(self) -> str:
        return f"{self.how} {self.thing}"


class Put(NamedTuple):
    """Put the held object somewhere. ``found_at`` is kept for tasks with two objects, where no other text keeps it."""

    thing: str
    found_at: str | None
    place: str

    def __str__(self) -> str:
        return f"put {self.thing}{f' from {self.found_at}' if self.found_at else ''} in {self.place}"


class Look(NamedTuple):
    """Look at the held object under a lamp, which has to be found."""

    thing: str
    lamp: str

    def __str__(self) -> str:
        return f"look {self.thing} under {self.lamp}"

    def wants(self, name: str) -> bool:
        """Whether this is a lamp of the kind."""
        return kind_of(name) == self.lamp


Subtask = Find | Treat | Put | Look


def parse(text: str) -> Subtask | None:
    """The subtask with this text, or None.

    >>> parse("find cd, not cd 3, from desk 1 on")
    Find(kind='cd', done_with='cd 3', start='desk 1')
    """
    if find := _FIND.fullmatch(text):
        return Find(find[1], find[2], find[3])
    if use := _USE.fullmatch(text):
        return Treat(use[1], use[2]) if use[1] else Put(use[3], use[4], use[5])
    if look := _LOOK.fullmatch(text):
        return Look(look[1], look[2])
    return None
