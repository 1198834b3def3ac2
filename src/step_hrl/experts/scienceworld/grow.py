"""grow-plant and grow-fruit: soil, seed, water and, for fruit, bees.

A pot in the running sink never dries out, so it is watered only once.
"""

from __future__ import annotations

import re

from step_hrl.experts.scienceworld.facts import Facts
from step_hrl.experts.scienceworld.screen import Scene
from step_hrl.experts.scienceworld.situation import Situation
from step_hrl.experts.scienceworld.skills import NOTHING_LEFT, Rule, Words, pick_up
from step_hrl.experts.scienceworld.subtasks import say
from step_hrl.prompts.low_level import Decision

PLANT = re.compile(r"Your task is to grow an? (?P<plant>[a-z]+) plant from seed\. .*found in the (?P<room>[a-z ]+)\.")
FRUIT = re.compile(r"Your task is to grow an? (?P<plant>[a-z]+)\. .*Seeds can be found in the (?P<room>[a-z ]+)\.")

_POTS = ("flower pot 1", "flower pot 2")


def plant(now: Situation, task: re.Match[str]) -> str | None:
    """The next subtask of grow-plant: one pot."""
    seed, pot = f"{task['plant']} seed", _POTS[0]
    return _sow(now, task, (pot,)) or now.first_open(
        say("focus", thing=f"{seed} in {pot}"),
        say("put", thing=pot, place="sink"),
        say("turn_on", device="sink"),
        say("grow", thing=f"{task['plant']} plant"),
    )


def fruit(now: Situation, task: re.Match[str]) -> str | None:
    """The next subtask of grow-fruit: two pots, because each tree needs the other's pollen."""
    return _sow(now, task, _POTS) or now.first_open(
        *(say("put", thing=pot, place="sink") for pot in _POTS),
        say("turn_on", device="sink"),
        say("bees"),
        say("await", thing=task["plant"]),
    )


def _sow(now: Situation, task: re.Match[str], pots: tuple[str, ...]) -> str | None:
    """The next subtask until each pot has its seed."""
    jar = say("get", thing="seed jar")
    if not now.did(jar):
        return now.go(task["room"]) or jar
    for pot in pots:
        sow = say("plant", thing=f"{task['plant']} seed", pot=pot)
        if not now.did(sow):
            return _fetch_soil(now, pots, pot) or sow
    return None


def _fetch_soil(now: Situation, pots: tuple[str, ...], pot: str) -> str | None:
    """The next subtask until a pot has soil, from the greenhouse or dug up outside."""
    scene = now.scene
    held = sum(thing.count for thing in scene.held if thing.name == "soil")
    if scene.room == "outside":
        filled = [other for other in pots if now.did(say("put", thing="soil", place=other))]
        if held >= len(pots) - len(filled):
            return now.go("greenhouse")
        return say("dig", thing="soil") if scene.holding("shovel") else say("get", thing="shovel")
    if towards := now.go("greenhouse"):
        return towards
    item = scene.find(pot)
    if item is None or item.holds("soil"):
        return None
    if held or any(thing.name == "soil" for thing in scene.things):
        return say("put", thing="soil", place=pot)
    if scene.has("shovel"):
        return say("get", thing="shovel")
    return now.go("outside")


def _dig(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    if any(thing.name == words["thing"] for thing in scene.things):
        return pick_up(words, facts, scene)
    return Decision("use shovel on ground", False)


def _plant(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    """The jar holds several seeds, so the environment always asks which one is meant."""
    if "moved" in facts:
        return NOTHING_LEFT
    return Decision(f"move {words['thing']} in seed jar to {words['pot']}", False)


def _bees(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    open_doors = [room for room, is_open in scene.doors.items() if is_open]
    return Decision(f"close door to {open_doors[0]}", False) if open_doors else Decision("open bee hive", True)


def _turn_on(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    return Decision(f"activate {words['device']}", True)


def _grow(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    return Decision("wait", False)


RULES: dict[str, Rule] = {
    "dig": _dig,
    "plant": _plant,
    "bees": _bees,
    "turn_on": _turn_on,
    "grow": _grow,
}
