"""Parse observations: the compact lines of :mod:`step_hrl.envs.scienceworld_text` into rooms and things."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from step_hrl.types import Observation

_STATES = {"on", "off", "open", "closed"}
_TEMPERATURE = re.compile(r"-?\d+C")
_COUNT = re.compile(r"x\d+")
_STAGE = re.compile(r"^(?P<name>.+?) in the (?P<stage>[a-z]+) stage\b.*$")


@dataclass(frozen=True)
class Thing:
    """One entry of a room or an inventory.

    ``name`` is its name in actions; ``states`` holds words such as ``off`` or ``closed``; ``stage`` is a plant's life
    stage; ``count`` is the number of equal things in the entry.
    """

    name: str
    states: tuple[str, ...] = ()
    contents: tuple[Thing, ...] = ()
    stage: str = ""
    count: int = 1

    def inside(self) -> Iterator[Thing]:
        """The things in it, at any depth."""
        return _nested(self.contents)

    def holds(self, name: str) -> bool:
        """Whether a thing with this name is in it, at any depth."""
        return any(thing.name == name for thing in self.inside())


@dataclass(frozen=True)
class Scene:
    """A parsed observation: the room, its things, its doors (True: open) and the things held."""

    room: str = ""
    things: tuple[Thing, ...] = ()
    doors: dict[str, bool] = field(default_factory=dict[str, bool])
    held: tuple[Thing, ...] = ()

    def seen(self) -> Iterator[Thing]:
        """The things in the room, at any depth, in the order of the observation."""
        return _nested(self.things)

    def everything(self) -> Iterator[Thing]:
        """The things in the room, then those held, at any depth."""
        return _nested((*self.things, *self.held))

    def find(self, name: str) -> Thing | None:
        """The first thing in the room or held that the name can refer to: ``apple`` includes a red apple."""
        return next((thing for thing in self.everything() if means(name, thing.name)), None)

    def has(self, name: str) -> bool:
        """Whether a thing with this name is in the room."""
        return any(means(name, thing.name) for thing in self.seen())

    def holding(self, name: str) -> bool:
        """Whether a thing with this name is held."""
        return any(means(name, thing.name) for thing in self.held)

    def alike(self, name: str) -> int:
        """Number of things in the room or held that the name can refer to; it may include a plant's life stage."""
        plant = _STAGE.match(name)
        if plant is None:
            return sum(thing.count for thing in self.everything() if means(name, thing.name))
        wanted = (plant["name"], plant["stage"])
        return sum(thing.count for thing in self.everything() if (thing.name, thing.stage) == wanted)

    def call(self, thing: Thing) -> str:
        """A thing's name in an action: with its contents where other things have the same name."""
        alike = sum(other.count for other in self.everything() if other.name == thing.name)
        if alike < 2 or not thing.contents:
            return thing.name
        return f"{thing.name} containing {thing.contents[0].name}"


def read(observation: Observation) -> Scene:
    """Parse an observation. Never raises: unparsable parts are omitted.

    >>> scene = read(Observation("", "kitchen: jug [water], stove off | Doors: hallway open", "orange"))
    >>> scene.room, [thing.name for thing in scene.seen()], scene.doors
    ('kitchen', ['jug', 'water', 'stove'], {'hallway': True})
    """
    look, _, doors = (observation.look or "").partition(" | Doors: ")
    room, _, things = look.partition(": ")
    return Scene(room.strip(), read_things(things), _doors(doors), read_things(observation.inventory or ""))


def read_things(line: str) -> tuple[Thing, ...]:
    """Parse a comma-separated list of things with contents in square brackets.

    >>> read_things("oven off closed, thermometer 10C, apple seed x5")[1:]
    (Thing(name='thermometer', states=('10C',), contents=(), stage='', count=1), \
Thing(name='apple seed', states=(), contents=(), stage='', count=5))
    """
    if line.strip() in ("", "nothing", "None"):
        return ()
    return tuple(thing for part in _split(line) if (thing := _thing(part)).name)


def means(name: str, full_name: str) -> bool:
    """Whether a name in an action can refer to the thing with ``full_name``.

    >>> means("apple", "red apple"), means("apple", "apple seed")
    (True, False)
    """
    return full_name == name or full_name.endswith(f" {name}")


def _nested(things: tuple[Thing, ...]) -> Iterator[Thing]:
    for thing in things:
        yield thing
        yield from _nested(thing.contents)


def _doors(line: str) -> dict[str, bool]:
    doors: dict[str, bool] = {}
    for part in line.split(", "):
        room, _, state = part.strip().rpartition(" ")
        if room and state in ("open", "closed"):
            doors[room] = state == "open"
    return doors


def _split(line: str) -> list[str]:
    parts, depth, start = list[str](), 0, 0
    for index, character in enumerate(line):
        if character in "[(":
            depth += 1
        elif character in "])":
            depth = max(0, depth - 1)
        elif character == "," and depth == 0:
            parts.append(line[start:index])
            start = index + 1
    return [*parts, line[start:]]


def _thing(part: str) -> Thing:
    contents: tuple[Thing, ...] = ()
    opening, closing = part.find("["), part.rfind("]")
    if 0 <= opening < closing:
        contents = read_things(part[opening + 1 : closing].replace("] [", ", "))
        part = f"{part[:opening]} {part[closing + 1 :]}"
    words = part.split("(")[0].split()
    states, count = list[str](), 1
    while words and (words[-1] in _STATES or _TEMPERATURE.fullmatch(words[-1]) or _COUNT.fullmatch(words[-1])):
        word = words.pop()
        if _COUNT.fullmatch(word):
            count = int(word[1:])
        else:
            states.insert(0, word)
    name, stage = " ".join(words), ""
    if match := _STAGE.match(name):
        name, stage = match["name"], match["stage"]
    return Thing(name, tuple(states), contents, stage, count)
