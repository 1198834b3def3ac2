"""Houses and goals of ``pantry``, drawn from seeded random generators.

Variations 0-199 of a task are ``train``, each in its own house; 200-219 are ``seen``, new goals in houses of ``train``;
220-319 are ``unseen``, in houses that occur in no other split.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache

TASK_NAMES = ("put-one", "clean-then-put", "put-two", "examine-in-light")
"""Task names, in the order of listing."""

VARIATIONS: Mapping[str, range] = {
    "train": range(0, 200),
    "seen": range(200, 220),
    "unseen": range(220, 320),
}
"""Variations of every task, by split."""

ROOMS = ("bathroom", "bedroom", "hall", "kitchen")
"""The rooms of every house; one of them, drawn per house, is connected to all others."""
CONTAINERS = ("chest", "cupboard", "fridge")
"""Furniture that opens. Its room is drawn per house."""
SURFACES = ("shelf", "table")
"""Furniture whose objects are always visible."""
OBJECTS = ("apple", "book", "key", "mug", "plate", "towel")
"""Things that can be taken. Their places are drawn per house."""


@dataclass(frozen=True)
class House:
    """The initial layout of a house. All tuples are in the order of listing.

    ``doors`` maps a room to its neighbors, ``furniture`` a room to its furniture (sink and lamp included), ``objects``
    an object to the piece of furniture it is in or on.
    """

    doors: Mapping[str, tuple[str, ...]]
    furniture: Mapping[str, tuple[str, ...]]
    objects: Mapping[str, str]


@dataclass(frozen=True)
class Goal:
    """The objects of a task and the furniture they must be put in or on (None for tasks without placing)."""

    objects: tuple[str, ...]
    place: str | None


@dataclass(frozen=True)
class Game:
    """One variation of one task."""

    house: House
    start: str
    goal: Goal


@cache
def house(layout: int) -> House:
    """Draw house number ``layout``; the same number gives the same house."""
    draw = random.Random(f"pantry house {layout}")
    # All rooms adjoin a central one, so that a search needs no map: go through a new door, or else back.
    center = draw.choice(ROOMS)
    outer = tuple(room for room in ROOMS if room != center)
    places = [*CONTAINERS, *SURFACES]
    furniture: dict[str, list[str]] = {room: [] for room in ROOMS}
    for piece in draw.sample(places, len(places)):
        # At most two pieces per room keep descriptions short.
        furniture[draw.choice([room for room in ROOMS if len(furniture[room]) < 2])].append(piece)
    for fixture in ("sink", "lamp"):
        furniture[draw.choice(ROOMS)].append(fixture)
    return House(
        {room: outer if room == center else (center,) for room in ROOMS},
        {room: tuple(pieces) for room, pieces in furniture.items()},
        {thing: draw.choice(places) for thing in draw.sample(OBJECTS, len(OBJECTS))},
    )


@cache
def game(task: str, variation: int) -> Game:
    """The game of a task (one of :data:`TASK_NAMES`) and a variation (one of :data:`VARIATIONS`)."""
    layout = _layout(variation)
    home = house(layout)
    goals = _goals(task, home)
    # One shuffle per house: variations in the same house have different goals.
    random.Random(f"pantry goals {task} {layout}").shuffle(goals)
    goal = goals[1 if variation in VARIATIONS["seen"] else 0]
    return Game(home, random.Random(f"pantry start {task} {variation}").choice(ROOMS), goal)


@cache
def fingerprint() -> str:
    """A hash over all games: equal hashes mean equal games."""
    games = [
        (task, variation, asdict(game(task, variation)))
        for task in TASK_NAMES
        for variations in VARIATIONS.values()
        for variation in variations
    ]
    return hashlib.sha256(json.dumps(games, sort_keys=True).encode()).hexdigest()[:16]


def _layout(variation: int) -> int:
    if variation in VARIATIONS["train"]:
        return variation
    if variation in VARIATIONS["seen"]:
        return (variation - VARIATIONS["seen"].start) * len(VARIATIONS["train"]) // len(VARIATIONS["seen"])
    return len(VARIATIONS["train"]) + variation - VARIATIONS["unseen"].start


def _goals(task: str, home: House) -> list[Goal]:
    if task == "examine-in-light":
        return [Goal((thing,), None) for thing in home.objects]
    places = [piece for pieces in home.furniture.values() for piece in pieces if piece not in ("sink", "lamp")]
    away = {place: [thing for thing, where in home.objects.items() if where != place] for place in places}
    if task == "put-two":
        return [
            Goal((first, second), place)
            for place, things in away.items()
            for first in things
            for second in things
            if first != second
        ]
    return [Goal((thing,), place) for place, things in away.items() for thing in things]
