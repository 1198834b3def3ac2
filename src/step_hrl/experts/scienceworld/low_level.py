"""The low level: the next action of a subtask, from the subtask, the progress and the screen alone."""

from __future__ import annotations

from collections.abc import Callable

from step_hrl.experts.scienceworld import facts as fact
from step_hrl.experts.scienceworld import house, screen, subtasks
from step_hrl.experts.scienceworld.facts import Facts
from step_hrl.experts.scienceworld.screen import Scene
from step_hrl.roles.low_level import Decision
from step_hrl.types import Observation

Words = dict[str, str]


def act(subtask: str, progress: str, observation: Observation) -> Decision | None:
    """The action to take, and whether it completes the subtask; None where the expert does not know."""
    kind, words = subtasks.read(subtask)
    rule = _RULES.get(kind)
    facts = fact.parse(progress)
    if rule is None:
        return None
    if "asked" in facts:
        return Decision("0", True)
    return rule(words, facts, screen.read(observation))


def _go(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    room = house.next_room(scene.room, words["room"])
    if room is None:
        return None
    if not scene.doors.get(room, False):
        return Decision(f"open door to {room}", False)
    return Decision(f"go to {room}", room == words["room"])


def _focus(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    return Decision(f"focus on {words['thing']}", True)


def _take(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    if "focused" not in facts:
        return Decision(f"focus on {words['thing']}", False)
    return Decision(f"pick up {words['thing']}", True)


def _take_plant(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    if "focused" not in facts:
        return Decision(f"focus on {words['thing']} in {words['pot']}", False)
    return Decision(f"pick up {words['pot']}", True)


def _put(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    return Decision(f"move {words['thing']} to {words['place']}", True)


def _measure(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    return Decision(f"use thermometer on {words['thing']}", True)


_RULES: dict[str, Callable[[Words, Facts, Scene], Decision | None]] = {
    "go": _go,
    "focus": _focus,
    "take": _take,
    "take_plant": _take_plant,
    "put": _put,
    "measure": _measure,
}
