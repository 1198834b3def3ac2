"""lifespan-longest-lived, lifespan-shortest-lived and both in turn: focus on the right animal outside."""

from __future__ import annotations

import re

from step_hrl.experts.scienceworld.knowledge import LIFESPAN_YEARS, animal
from step_hrl.experts.scienceworld.situation import Situation
from step_hrl.experts.scienceworld.subtasks import say

TASK = re.compile(r"find the animal with the (?P<first>longest|shortest) life span(?P<then>, then the shortest)?")


def plan(now: Situation, task: re.Match[str]) -> str | None:
    """The next subtask."""
    if towards := now.go("outside"):
        return towards
    wanted = task["first"] if now.last("focus") is None or not task["then"] else "shortest"
    animals = [(LIFESPAN_YEARS[kind], thing.name) for thing in now.scene.things if (kind := animal(thing.name))]
    if not animals:
        return None
    choose = max if wanted == "longest" else min
    return say("focus", thing=choose(animals)[1])
