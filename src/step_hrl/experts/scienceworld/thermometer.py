"""use-thermometer: measure a substance and put it in the box for its temperature."""

from __future__ import annotations

import re

from step_hrl.experts.scienceworld.situation import Situation
from step_hrl.experts.scienceworld.subtasks import say

TASK = re.compile(
    r"measure the temperature of (?P<thing>.+?), which is located around the (?P<room>[a-z ]+)\."
    r".*above (?P<degrees>-?[\d.]+) degrees celsius, place it in the (?P<above>[a-z ]+ box)"
    r".*below .*? degrees celsius, place it in the (?P<below>[a-z ]+ box)"
    r".*boxes are located around the (?P<box_room>[a-z ]+)\."
)


def plan(now: Situation, task: re.Match[str]) -> str | None:
    """The next subtask."""
    thing = task["thing"]
    take_thermometer, take_thing = say("take", thing="thermometer"), say("take", thing=thing)
    measure = say("measure", thing=thing)
    if not now.did(take_thermometer):
        return now.go("kitchen") or take_thermometer
    if not now.did(take_thing):
        return now.go(task["room"]) or take_thing
    if towards := now.go(task["box_room"]):
        return towards
    degrees = re.fullmatch(r"(-?\d+)C", now.facts.get("temperature", ""))
    if not now.did(measure) or degrees is None:
        return measure
    return say("put", thing=thing, place=task["above" if float(degrees[1]) > float(task["degrees"]) else "below"])
