"""chemistry-mix by a recipe, and chemistry-mix-paint by the colours that make a colour."""

from __future__ import annotations

import re

from step_hrl.experts.scienceworld.facts import items
from step_hrl.experts.scienceworld.knowledge import is_vessel
from step_hrl.experts.scienceworld.situation import Situation
from step_hrl.experts.scienceworld.subtasks import say

PAINT = re.compile(r"use chemistry to create (?P<colour>[a-z-]+) paint\.")
MIX = re.compile(r"use chemistry to create the substance '(?P<product>.+?)'\..*found near the (?P<room>[a-z ]+)\.")

SECONDARY: dict[str, tuple[str, str]] = {
    "green": ("blue", "yellow"),
    "orange": ("red", "yellow"),
    "violet": ("blue", "red"),
}
"""Which primary colours make a secondary one."""

_WET = re.compile(r"( water|dough|rust)$")
"""Products that take water."""


def paint(now: Situation, task: re.Match[str]) -> str | None:
    """The next subtask of chemistry-mix-paint: the secondary colour, then, where asked for, the tertiary."""
    if towards := now.go("art studio"):
        return towards
    colours = task["colour"].split("-")
    secondary = next((colour for colour in colours if colour in SECONDARY), None)
    if secondary is None:
        return None
    mixed = now.last("mix")
    vessel = _empty_vessel(now) if mixed is None else mixed.words["vessel"]
    if vessel is None:
        return None
    steps = _steps(*SECONDARY[secondary], secondary, vessel)
    if len(colours) > 1:
        primary = next(colour for colour in colours if colour != secondary)
        steps += _steps(secondary, primary, task["colour"], vessel)
    return next((step for step in steps if not now.did(step)), None)


def _steps(one: str, other: str, colour: str, vessel: str) -> list[str]:
    return [say("mix", things=f"{one} paint, {other} paint", vessel=vessel), say("focus", thing=f"{colour} paint")]


def mix(now: Situation, task: re.Match[str]) -> str | None:
    """The next subtask of chemistry-mix. Vessel and water are in the kitchen, paint in the art studio."""
    product, room = task["product"], task["room"]
    coloured = re.fullmatch(r"(?P<colour>[a-z]+) paper", product)
    lab = "art studio" if coloured else "kitchen"
    if now.last("read") is None:
        return now.go(room) or say("read", thing="recipe")
    mixed, collected = now.last("mix"), now.last("collect")
    if mixed is not None:
        return say("focus", thing=product)
    recipe = items(now.facts, "recipe")
    if collected is None and room != lab:
        dry = [ingredient for ingredient in recipe if ingredient != "water" and not ingredient.endswith("paint")]
        return say("collect", things=", ".join(dry)) if dry else None
    if towards := now.go(lab):
        return towards
    if collected is not None:
        recipe = collected.words["things"].split(", ")
        recipe += [f"{coloured['colour']} paint"] if coloured else ["water"] if _WET.search(product) else []
    vessel = _empty_vessel(now)
    return say("mix", things=", ".join(recipe), vessel=vessel) if vessel and recipe else None


def _empty_vessel(now: Situation) -> str | None:
    return next((thing.name for thing in now.scene.seen() if is_vessel(thing.name) and not thing.contents), None)
