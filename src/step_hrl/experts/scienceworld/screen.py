"""What the roles see, taken apart: the compact lines of :mod:`step_hrl.envs.scienceworld_text` as rooms and things."""

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

    ``name`` is how an action refers to it; ``states`` holds words such as ``off`` or ``closed``; ``stage`` a plant's
    stage of life; ``count`` how many alike lie side by side.
    """

    name: str
    states: tuple[str, ...] = ()
    contents: tuple[Thing, ...] = ()
    stage: str = ""
    count: int = 1

    def inside(self) -> Iterator[Thing]:
        """Everything in it, at any depth."""
        for thing in self.contents:
            yield thing
            yield from thing.inside()

    def holds(self, name: str) -> bool:
        """Whether something of this name is in it, at any depth."""
        return any(thing.name == name for thing in self.inside())


@dataclass(frozen=True)
class Scene:
    """An observation taken apart: the room, its things and doors (True is open), and what is held."""

    room: str = ""
    things: tuple[Thing, ...] = ()
    doors: dict[str, bool] = field(default_factory=dict[str, bool])
    held: tuple[Thing, ...] = ()

    def seen(self) -> Iterator[Thing]:
        """Everything in the room at any depth, as listed on the screen."""
        for thing in self.things:
            yield thing
            yield from thing.inside()

    def everything(self) -> Iterator[Thing]:
        """Everything in the room, then everything held, at any depth."""
        yield from self.seen()
        for thing in self.held:
            yield thing
            yield from thing.inside()

    def find(self, name: str) -> Thing | None:
        """The first thing an action of this name can mean, in the room or held: ``apple`` also means a red apple."""
        return next((thing for thing in self.everything() if means(name, thing.name)), None)

    def has(self, name: str) -> bool:
        """Whether a thing of this name is in the room."""
        return any(means(name, thing.name) for thing in self.seen())

    def holding(self, name: str) -> bool:
        """Whether a thing of this name is held."""
        return any(means(name, thing.name) for thing in self.held)

    def alike(self, name: str) -> int:
        """How many things an action of this name can mean, in the room or held; a plant's may say its stage of life."""
        plant = _STAGE.match(name)
        if plant is None:
            return sum(thing.count for thing in self.everything() if means(name, thing.name))
        wanted = (plant["name"], plant["stage"])
        return sum(thing.count for thing in self.everything() if (thing.name, thing.stage) == wanted)

    def call(self, thing: Thing) -> str:
        """How an action refers to a thing: by its name, and by what it contains where names alike lie around."""
        alike = sum(other.count for other in self.everything() if other.name == thing.name)
        if alike < 2 or not thing.contents:
            return thing.name
        return f"{thing.name} containing {thing.contents[0].name}"


def read(observation: Observation) -> Scene:
    """Take an observation apart. Total: what cannot be read is left out.

    >>> scene = read(Observation("", "kitchen: jug [water], stove off | Doors: hallway open", "orange"))
    >>> scene.room, [thing.name for thing in scene.seen()], scene.doors
    ('kitchen', ['jug', 'water', 'stove'], {'hallway': True})
    """
    look, _, doors = (observation.look or "").partition(" | Doors: ")
    room, _, things = look.partition(": ")
    return Scene(room.strip(), read_things(things), _doors(doors), read_things(observation.inventory or ""))


def read_things(line: str) -> tuple[Thing, ...]:
    """Things of a comma list with contents in square brackets.

    >>> read_things("oven off closed, thermometer 10C, apple seed x5")[1:]
    (Thing(name='thermometer', states=('10C',), contents=(), stage='', count=1), \
Thing(name='apple seed', states=(), contents=(), stage='', count=5))
    """
    if line.strip() in ("", "nothing", "None"):
        return ()
    return tuple(thing for part in _split(line) if (thing := _thing(part)).name)


def means(name: str, shown: str) -> bool:
    """Whether an action's word can mean a thing shown by that name.

    >>> means("apple", "red apple"), means("apple", "apple seed")
    (True, False)
    """
    return shown == name or shown.endswith(f" {name}")


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
