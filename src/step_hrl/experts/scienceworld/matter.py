"""boil, melt, freeze, change-the-state-of-matter-of: everything it takes is in the kitchen.

The oven heats whatever the stove can and more, and unlike the stove it is never broken.
"""

from __future__ import annotations

import re

from step_hrl.experts.scienceworld.knowledge import is_substance, is_vessel, phase
from step_hrl.experts.scienceworld.screen import Scene, Thing
from step_hrl.experts.scienceworld.situation import Situation
from step_hrl.experts.scienceworld.subtasks import say

TASK = re.compile(r"Your task is to (?P<goal>boil|melt|freeze|change the state of matter of) (?P<substance>[a-z ]+)\.")

VESSEL = "glass cup"
"""Stands empty on the kitchen table."""


def plan(now: Situation, task: re.Match[str]) -> str | None:
    """The next subtask."""
    substance, goal = task["substance"], task["goal"]
    if substance == "water" and (fetch := _fetch_water(now)):
        return fetch
    if towards := now.go("kitchen"):
        return towards
    if now.last("find", "focus") is None:
        return say("focus" if substance == "water" else "find", thing=substance)
    found = find(now.scene, substance)
    if found is None:
        return None
    solid = phase(found.name) == "solid"
    if goal == "freeze" and solid and holder(now.scene, found) is None:
        return say("put", thing=found.name, place=VESSEL)
    if goal == "boil" or solid:
        return say("heat", thing=substance, change="boils" if goal == "boil" else "melts")
    return say("cool", thing=substance, change="freezes")


def find(scene: Scene, substance: str) -> Thing | None:
    """The substance on the screen, in whatever state of matter; what a vessel holds before what lies about."""
    found = [thing for thing in scene.everything() if is_substance(thing.name, substance)]
    return next((thing for thing in found if holder(scene, thing)), found[0] if found else None)


def holder(scene: Scene, thing: Thing) -> Thing | None:
    """The vessel a thing is in; None where it lies loose."""
    return next((vessel for vessel in scene.everything() if is_vessel(vessel.name) and _contains(vessel, thing)), None)


def _contains(vessel: Thing, thing: Thing) -> bool:
    return any(inner is thing for inner in vessel.contents)


def _fetch_water(now: Situation) -> str | None:
    """The kitchen's sink may be broken; the bathroom, which has a cup of its own, is next door."""
    water = find(now.scene, "water")
    vessel = None if water is None else holder(now.scene, water)
    if now.scene.room == "bathroom" and vessel is not None:
        return None if vessel in now.scene.held else say("get", thing=VESSEL)
    if vessel is not None or now.last("focus") is not None:
        return None
    if now.scene.room == "kitchen" and now.facts.get("sink") == "broken":
        return say("go", room="bathroom")
    if now.scene.room not in ("kitchen", "bathroom"):
        return say("go", room="kitchen")
    return say("fill", thing=VESSEL)
