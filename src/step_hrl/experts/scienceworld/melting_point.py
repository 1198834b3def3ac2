"""measure-melting-point-known-substance: melt the substance, measure it, focus on the box for its melting point."""

from __future__ import annotations

import re

from step_hrl.experts.scienceworld.facts import Facts
from step_hrl.experts.scienceworld.knowledge import MELTING_POINT_CELSIUS, phase
from step_hrl.experts.scienceworld.matter import fetch_water, find, insert
from step_hrl.experts.scienceworld.screen import Scene
from step_hrl.experts.scienceworld.situation import Situation
from step_hrl.experts.scienceworld.skills import Rule, Words
from step_hrl.experts.scienceworld.subtasks import say
from step_hrl.prompts.low_level import Decision

TASK = re.compile(
    r"measure the melting point of (?P<thing>.+?), which is located around the (?P<room>[a-z ]+)\."
    r".*above (?P<degrees>-?[\d.]+) degrees celsius, focus on the (?P<above>[a-z ]+ box)"
    r".*below .*? degrees celsius, focus on the (?P<below>[a-z ]+ box)"
    r".*boxes are located around the (?P<box_room>[a-z ]+)\."
)

_WARM_CELSIUS = 40
"""A substance that is solid at this temperature melts slowly: the expert waits between measurements."""


def plan(now: Situation, task: re.Match[str]) -> str | None:
    """The next subtask. The box follows from the known melting point; measuring is part of the task."""
    thing = task["thing"]
    take_thermometer = say("take", thing="thermometer")
    if not now.did(take_thermometer):
        return now.go("kitchen") or take_thermometer
    if thing == "water" and (fetch := fetch_water(now)):
        return fetch
    if now.last("find") is None:
        return now.go(task["room"]) or say("find", thing=thing)
    if now.last("melt", "measure") is None:
        item = find(now.scene, thing)
        if item is None:
            return None
        return say("measure" if phase(item.name) == "liquid" else "melt", thing=thing)
    if thing not in MELTING_POINT_CELSIUS:
        return None
    above = MELTING_POINT_CELSIUS[thing] > float(task["degrees"])
    return now.go(task["box_room"]) or say("focus", thing=task["above" if above else "below"])


def _melt(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    item = find(scene, words["thing"])
    if item is None:  # the substance has burned
        return Decision("wait1", True)
    if inserted := insert(item, "oven", scene, bare=True):
        return inserted
    measure = f"use thermometer on {item.name}"
    if phase(item.name) == "liquid":
        return Decision(measure, True)
    degrees = facts.get("temperature", "").removesuffix("C").lstrip("-")
    if degrees.isdigit() and int(degrees) >= _WARM_CELSIUS and "waited" not in facts:
        return Decision("wait", False)
    return Decision(measure, False)


RULES: dict[str, Rule] = {
    "melt": _melt,
}
