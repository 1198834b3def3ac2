"""Basic skills of the low level: go to a room, search for a thing, focus on it, take it, put it somewhere.

A rule maps the words of a subtask, the facts of the progress and the scene to a decision, or None where none applies.
"""

from __future__ import annotations

from collections.abc import Callable

from step_hrl.experts.scienceworld import facts as fact
from step_hrl.experts.scienceworld import house, screen
from step_hrl.experts.scienceworld.facts import Facts
from step_hrl.experts.scienceworld.screen import Scene
from step_hrl.prompts.low_level import Decision

Words = dict[str, str]
Rule = Callable[[Words, Facts, Scene], Decision | None]

NOTHING_LEFT = Decision("look around", True)
"""Completes a subtask that is already done or impossible."""

_OPENED_FIRST = ("fridge", "freezer", "cupboard", "oven")
"""Things to open first in a search; others follow in the order of the observation."""


def search(scene: Scene) -> Decision | None:
    """Open the next closed thing in the room; None where all are open."""
    closed = [thing.name for thing in scene.things if "closed" in thing.states]
    ranked = sorted(closed, key=lambda thing: _OPENED_FIRST.index(thing) if thing in _OPENED_FIRST else 9)
    return Decision(f"open {ranked[0]}", False) if ranked else None


def focus(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    """Focus on a thing. If several match, the environment asks which one is meant, and the answer completes it."""
    if "focused" in facts:
        return NOTHING_LEFT
    return Decision(f"focus on {words['thing']}", scene.alike(words["thing"]) < 2)


def pick_up(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    """Pick up a thing; if several match, see :func:`focus`."""
    if words["thing"] in fact.items(facts, "holding"):
        return NOTHING_LEFT
    return Decision(f"pick up {words['thing']}", scene.alike(words["thing"]) < 2)


def _go(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    if scene.room == words["room"]:
        return NOTHING_LEFT
    room = house.next_room(scene.room, words["room"])
    if room is None:
        return None
    if not scene.doors.get(room, False):
        return Decision(f"open door to {room}", False)
    return Decision(f"go to {room}", room == words["room"])


def _find(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    return search(scene) if scene.find(words["thing"]) is None else focus(words, facts, scene)


def _get(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    return pick_up(words, facts, scene) if scene.has(words["thing"]) else search(scene)


def _take(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    if "focused" not in facts:
        return Decision(f"focus on {words['thing']}", False)
    return pick_up(words, facts, scene)


def _take_plant(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    if "focused" not in facts:
        return Decision(f"focus on {words['thing']} in {words['pot']}", False)
    return Decision(f"pick up {words['pot']}", True)


def _put(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    if "moved" in facts:
        return NOTHING_LEFT
    thing, alike = words["thing"], scene.alike(words["thing"])
    held = sum(other.count for other in scene.held if screen.means(thing, other.name))
    if 0 < held < alike:
        thing, alike = f"{thing} in inventory", held
    return Decision(f"move {thing} to {words['place']}", alike < 2)


def _measure(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    return Decision(f"use thermometer on {words['thing']}", True)


def _collect(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    missing = [thing for thing in words["things"].split(", ") if not scene.holding(thing)]
    return Decision(f"pick up {missing[0]}", len(missing) == 1) if missing else None


def _drop(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    return Decision(f"drop {words['thing']}", True)


RULES: dict[str, Rule] = {
    "go": _go,
    "focus": focus,
    "find": _find,
    "get": _get,
    "take": _take,
    "take_plant": _take_plant,
    "put": _put,
    "collect": _collect,
    "drop": _drop,
    "measure": _measure,
}
