"""identify-life-stages: focus on each life stage of an animal or a plant, outside, in order."""

from __future__ import annotations

import re

from step_hrl.experts.scienceworld.facts import Facts
from step_hrl.experts.scienceworld.screen import Scene
from step_hrl.experts.scienceworld.situation import Situation
from step_hrl.experts.scienceworld.skills import Rule, Words, focus
from step_hrl.experts.scienceworld.subtasks import say
from step_hrl.prompts.low_level import Decision

ANIMAL = re.compile(r"focus on the (?P<count>\d) life stages of the (?P<animal>[a-z ]+?), starting")
PLANT = re.compile(r"focus on the life stages of the (?P<plant>[a-z ]+?) plant, starting")

_STAGES: dict[str, tuple[str, ...]] = {
    "butterfly": ("butterfly egg", "caterpillar", "butterfly pupa", "adult butterfly"),
    "frog": ("frog egg", "tadpole", "adult frog"),
}
_OBSERVED_AS = {"moth": "butterfly", "common toad": "frog", "toad": "frog"}
"""Animals that observations call by the name of another species."""


def animal(now: Situation, task: re.Match[str]) -> str | None:
    """The next subtask of identify-life-stages-1."""
    kind = _OBSERVED_AS.get(task["animal"], task["animal"])
    if kind in _STAGES:
        return _next(now, _STAGES[kind])
    if task["count"] == "3":
        return _next(now, (f"baby {kind}", f"juvenile {kind}", f"adult {kind}"))
    return _next(now, (f"{kind} egg", f"hatchling {kind}", f"juvenile {kind}", f"adult {kind}"))


def plant(now: Situation, task: re.Match[str]) -> str | None:
    """The next subtask of identify-life-stages-2."""
    tree = "pea plant" if task["plant"] == "pea" else f"{task['plant']} tree"
    stages = [f"{tree} in the {stage} stage" for stage in ("seedling", "adult", "reproducing")]
    return _next(now, (f"{task['plant']} seed", *stages))


def _next(now: Situation, stages: tuple[str, ...]) -> str | None:
    if towards := now.go("outside"):
        return towards
    for stage in stages:
        focus_on, wait_for = say("focus", thing=stage), say("await", thing=stage)
        if not now.did(focus_on) and not now.did(wait_for):
            return focus_on if now.scene.alike(stage) else wait_for
    return None


def _await(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    if scene.alike(words["thing"]):
        return focus(words, facts, scene)
    return Decision("wait1" if words["thing"].endswith(" stage") else "wait", False)


RULES: dict[str, Rule] = {
    "await": _await,
}
