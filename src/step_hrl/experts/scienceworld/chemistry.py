"""chemistry-mix, which follows a recipe, and chemistry-mix-paint, which mixes colors."""

from __future__ import annotations

import re

from step_hrl.experts.scienceworld.facts import Facts, items
from step_hrl.experts.scienceworld.knowledge import is_vessel, phase
from step_hrl.experts.scienceworld.matter import holder
from step_hrl.experts.scienceworld.screen import Scene, means
from step_hrl.experts.scienceworld.situation import Situation
from step_hrl.experts.scienceworld.skills import Rule, Words, search
from step_hrl.experts.scienceworld.subtasks import say
from step_hrl.prompts.low_level import Decision

PAINT = re.compile(r"use chemistry to create (?P<colour>[a-z-]+) paint\.")
MIX = re.compile(r"use chemistry to create the substance '(?P<product>.+?)'\..*found near the (?P<room>[a-z ]+)\.")

SECONDARY: dict[str, tuple[str, str]] = {
    "green": ("blue", "yellow"),
    "orange": ("red", "yellow"),
    "violet": ("blue", "red"),
}
"""The primary colors that make a secondary one."""

_WET = re.compile(r"( water|dough|rust)$")
"""Products that need water."""


def paint(now: Situation, task: re.Match[str]) -> str | None:
    """The next subtask of chemistry-mix-paint: mix the secondary color, then the tertiary one where it is the goal."""
    if towards := now.go("art studio"):
        return towards
    colors = task["colour"].split("-")
    secondary = next((color for color in colors if color in SECONDARY), None)
    if secondary is None:
        return None
    mixed = now.last("mix")
    vessel = _empty_vessel(now) if mixed is None else mixed.words["vessel"]
    if vessel is None:
        return None
    steps = _steps(*SECONDARY[secondary], secondary, vessel)
    if len(colors) > 1:
        primary = next(color for color in colors if color != secondary)
        steps += _steps(secondary, primary, task["colour"], vessel)
    return now.first_open(*steps)


def _steps(one: str, other: str, color: str, vessel: str) -> list[str]:
    return [say("mix", things=f"{one} paint, {other} paint", vessel=vessel), say("focus", thing=f"{color} paint")]


def mix(now: Situation, task: re.Match[str]) -> str | None:
    """The next subtask of chemistry-mix. Vessel and water are in the kitchen, paint in the art studio."""
    product, room = task["product"], task["room"]
    paper = re.fullmatch(r"(?P<colour>[a-z]+) paper", product)
    lab = "art studio" if paper else "kitchen"
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
        recipe += [f"{paper['colour']} paint"] if paper else ["water"] if _WET.search(product) else []
    vessel = _empty_vessel(now)
    return say("mix", things=", ".join(recipe), vessel=vessel) if vessel and recipe else None


def _empty_vessel(now: Situation) -> str | None:
    return next((thing.name for thing in now.scene.seen() if is_vessel(thing.name) and not thing.contents), None)


def _read(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    return Decision(f"read {words['thing']}", True)


def _mix(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    vessel = words["vessel"]
    inside = scene.find(vessel)
    for ingredient in words["things"].split(", "):
        if inside is None or not any(means(ingredient, thing.name) for thing in inside.contents):
            return _add(ingredient, vessel, facts, scene)
    sink = scene.find("sink")
    if sink is not None and "on" in sink.states:
        return Decision("deactivate sink", False)
    return Decision(f"mix {vessel}", True)


def _add(ingredient: str, vessel: str, facts: Facts, scene: Scene) -> Decision | None:
    if ingredient == "water":
        sink = scene.find("sink")
        in_sink = sink is not None and sink.holds(vessel)
        return Decision("activate sink" if in_sink else f"move {vessel} to sink", False)
    item = scene.find(ingredient)
    if item is None:
        return search(scene)
    source = holder(scene, item)
    if phase(ingredient) == "liquid" and source is not None:
        return Decision(f"pour {source.name} containing {ingredient} into {vessel}", False)
    if source is not None and source.name.endswith("jar") and source.name not in items(facts, "opened"):
        return Decision(f"open {source.name}", False)
    return Decision(f"move {ingredient} to {vessel}", False)


RULES: dict[str, Rule] = {
    "read": _read,
    "mix": _mix,
}
