"""boil, melt, freeze and change-the-state-of-matter-of, with the oven and the freezer of the kitchen.

The oven gets hotter than the stove and, unlike it, is never broken.
"""

from __future__ import annotations

import re

from step_hrl.experts.scienceworld import subtasks
from step_hrl.experts.scienceworld.facts import MISSING, Facts
from step_hrl.experts.scienceworld.knowledge import is_substance, is_vessel, phase
from step_hrl.experts.scienceworld.screen import Scene, Thing
from step_hrl.experts.scienceworld.situation import Situation
from step_hrl.experts.scienceworld.skills import NOTHING_LEFT, Rule, Words
from step_hrl.experts.scienceworld.subtasks import say
from step_hrl.prompts.low_level import Decision

TASK = re.compile(r"Your task is to (?P<goal>boil|melt|freeze|change the state of matter of) (?P<substance>[a-z ]+)\.")

VESSEL = "glass cup"
"""An empty vessel on the kitchen table."""


def plan(now: Situation, task: re.Match[str]) -> str | None:
    """The next subtask."""
    substance, goal = task["substance"], task["goal"]
    if substance == "water" and (fetch := fetch_water(now)):
        return fetch
    if not _is_focused(now):
        return _look_for(now, substance)
    item = find(now.scene, substance)
    if item is None:
        return None
    if now.scene.room != "kitchen":
        moved = holder(now.scene, item) or item
        return now.go("kitchen") if moved in now.scene.held else say("get", thing=moved.name)
    solid = phase(item.name) == "solid"
    if goal == "freeze" and solid and holder(now.scene, item) is None:
        return say("put", thing=item.name, place=VESSEL)
    if goal == "boil" or solid:
        return say("heat", thing=substance, change="boils" if goal == "boil" else "melts")
    return say("cool", thing=substance, change="freezes")


def _is_focused(now: Situation) -> bool:
    """Whether the substance was found. Only a search that was given up is followed by a walk."""
    kinds = [subtasks.read(text).kind for text in now.completed]
    searches = [index for index, kind in enumerate(kinds) if kind in ("find", "focus")]
    return bool(searches) and kinds[searches[-1] + 1 :][:1] != ["go"]


def _look_for(now: Situation, substance: str) -> str:
    """The next subtask until the substance is focused on.

    It is in the workshop or in the kitchen, and the task does not say where. The expert searches both, as a policy has
    to: first the workshop, where everything lies in sight.
    """
    if substance == "water":
        return now.go("kitchen") or say("focus", thing=substance)
    search = say("find", thing=substance)
    to_workshop, to_kitchen = (say("go", room=room) for room in ("workshop", "kitchen"))
    if find(now.scene, substance) is not None:
        return search
    if now.scene.room == "workshop":
        return to_kitchen if now.facts.get(MISSING) == substance else search
    if now.did(to_workshop) or now.did(to_kitchen):
        return now.go("kitchen") or search
    return to_workshop


def find(scene: Scene, substance: str) -> Thing | None:
    """The observed thing that is the substance, in any phase; one in a vessel is preferred."""
    candidates = [thing for thing in scene.everything() if is_substance(thing.name, substance)]
    return next((thing for thing in candidates if holder(scene, thing)), candidates[0] if candidates else None)


def holder(scene: Scene, thing: Thing) -> Thing | None:
    """The vessel that contains a thing; None where there is none."""
    return next(
        (
            vessel
            for vessel in scene.everything()
            if is_vessel(vessel.name) and any(inner is thing for inner in vessel.contents)
        ),
        None,
    )


def fetch_water(now: Situation) -> str | None:
    """The next subtask until a vessel holds water; where the kitchen's sink is broken, uses the bathroom's."""
    water = find(now.scene, "water")
    vessel = None if water is None else holder(now.scene, water)
    if now.scene.room == "bathroom" and vessel is not None:
        return None if vessel in now.scene.held else say("get", thing=VESSEL)
    if vessel is not None or now.last("focus", "find") is not None:
        return None
    if now.scene.room == "kitchen" and now.facts.get("sink") == "broken":
        return say("go", room="bathroom")
    if now.scene.room not in ("kitchen", "bathroom"):
        return say("go", room="kitchen")
    return say("fill", thing=VESSEL)


def _fill(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    if facts.get("sink") == "broken":
        return NOTHING_LEFT
    sink = scene.find("sink")
    if sink is None or not sink.holds(words["thing"]):
        return Decision(f"move {words['thing']} to sink", False)
    if "on" in sink.states:
        return Decision("deactivate sink", True)
    return Decision("activate sink", False)


def _heat(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    item = find(scene, words["thing"])
    if item is None:
        return Decision("wait", False)
    if inserted := insert(item, "oven", scene, bare=words["change"] == "boils"):
        return inserted
    if words["change"] == "boils":
        return Decision("wait", False)
    if phase(item.name) == "liquid":
        return Decision(f"pick up {_portable(item, scene)}", True)
    return Decision("wait1", False)


def _cool(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    item = find(scene, words["thing"])
    if item is None:
        return None
    if inserted := insert(item, "freezer", scene):
        return inserted
    if phase(item.name) == "solid":
        return Decision(f"pick up {_portable(item, scene)}", True)
    return Decision("wait", False)


def insert(item: Thing, device: str, scene: Scene, bare: bool = False) -> Decision | None:
    """The next action to get a thing into an active device; None where it is in it."""
    target = scene.find(device)
    if target is None or item in target.inside():
        return None
    if "closed" in target.states:
        return Decision(f"open {device}", False)
    if "off" in target.states:
        return Decision(f"activate {device}", False)
    return Decision(f"move {_portable(item, scene, bare)} to {device}", False)


def _portable(item: Thing, scene: Scene, bare: bool = False) -> str:
    """The name to use in an action that moves a thing: its vessel's, or with ``bare`` a solid thing's own."""
    vessel = holder(scene, item)
    if vessel is None or (bare and phase(item.name) == "solid"):
        return item.name
    return scene.call(vessel)


RULES: dict[str, Rule] = {
    "fill": _fill,
    "heat": _heat,
    "cool": _cool,
}
