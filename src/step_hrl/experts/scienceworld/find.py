"""find-living-thing, find-non-living-thing, find-plant, find-animal: focus on one, then move it to a box.

Several things may qualify. The expert takes any of them, so that demonstrations name many: a policy that has seen few
names does not learn to copy them.
"""

from __future__ import annotations

import re
from zlib import crc32

from step_hrl.experts.scienceworld.knowledge import FIXED, animal, is_plant
from step_hrl.experts.scienceworld.situation import Situation
from step_hrl.experts.scienceworld.subtasks import say

TASK = re.compile(
    r"Your task is to find an? (?P<what>living thing|non-living thing|plant|animal)\b.*"
    r"move it to the (?P<box>[a-z ]+?) in the (?P<room>[a-z ]+)\."
)


def plan(now: Situation, task: re.Match[str]) -> str | None:
    """The next subtask."""
    taken = now.last("take", "take_plant", "focus")
    if taken is None:
        place = {"plant": "greenhouse", "non-living thing": task["room"]}.get(task["what"], "outside")
        return now.go(place) or _choose(now, task["what"])
    moved = taken.words.get("pot") or taken.words["thing"]
    return now.go(task["room"]) or say("put", thing=moved, place=task["box"])


def _choose(now: Situation, what: str) -> str | None:
    """One of the things that qualify, by a hash of what is in sight."""
    choices = _choices(now, what)
    return choices[crc32(repr(now.scene.things).encode()) % len(choices)] if choices else None


def _choices(now: Situation, what: str) -> list[str]:
    things = now.scene.things
    if what == "plant":
        plants = [(pot, thing) for pot in things for thing in pot.contents if is_plant(thing)]
        return [say("take_plant", thing=thing.name, pot=pot.name) for pot, thing in plants]
    if what == "non-living thing":
        loose = [thing for thing in things if thing.name not in FIXED and not thing.name.endswith("box")]
        return [say("focus", thing=thing.name) for thing in loose]
    return [say("take", thing=thing.name) for thing in things if animal(thing.name)]
