"""power-component (with any, a renewable or a nonrenewable source) and test-conductivity: circuits in the workshop."""

from __future__ import annotations

import re

from step_hrl.experts.scienceworld import facts as fact
from step_hrl.experts.scienceworld.facts import Facts
from step_hrl.experts.scienceworld.knowledge import FUELED, RENEWABLE, is_load, is_wire
from step_hrl.experts.scienceworld.screen import Scene
from step_hrl.experts.scienceworld.situation import Situation
from step_hrl.experts.scienceworld.skills import Rule, Words
from step_hrl.experts.scienceworld.subtasks import say
from step_hrl.prompts.low_level import Decision

POWER = re.compile(
    r"Your task is to turn on the (?P<thing>[a-z ]+?)"
    r"( by powering it using a (?P<source>renewable|nonrenewable) power source)?\."
)
CONDUCTIVITY = re.compile(
    r"determine if (?P<thing>.+?) is electrically conductive\. .*? located around the (?P<room>[a-z ]+)\."
    r".*electrically conductive, place it in the (?P<yes>[a-z ]+ box)"
    r".*electrically nonconductive, place it in the (?P<no>[a-z ]+ box)"
)


def power(now: Situation, task: re.Match[str]) -> str | None:
    """The next subtask of power-component."""
    thing, focus = task["thing"], say("focus", thing=task["thing"])
    if not now.did(focus):
        return now.go("workshop") or focus
    if task["source"] == "renewable":
        return _power_outside(now, thing)
    sources = FUELED if task["source"] else {"battery"}
    source = next((other.name for other in now.scene.seen() if other.name in sources), None)
    return say("power", thing=thing, source=source) if source else None


def _power_outside(now: Situation, thing: str) -> str | None:
    source = next((other.name for other in now.scene.everything() if other.name in RENEWABLE), None)
    if source is None:
        return None
    if now.last("collect") is None:
        wires = [other.name for other in now.scene.seen() if is_wire(other.name)]
        return say("collect", things=", ".join([thing, source, *wires[:2]]))
    if towards := now.go("outside"):
        return towards
    drop = say("drop", thing=source)
    return drop if not now.did(drop) else say("power", thing=thing, source=source)


def conductivity(now: Situation, task: re.Match[str]) -> str | None:
    """The next subtask of test-conductivity, for known and unknown substances."""
    thing, room = task["thing"], task["room"]
    if not now.did(say("find", thing=thing)):
        return now.go(room) or say("find", thing=thing)
    if now.scene.room == room != "workshop" and not now.scene.holding(thing):
        return say("get", thing=thing)
    if towards := now.go("workshop"):
        return towards
    test = say("conduct", thing=thing)
    if not now.did(test):
        return test
    lit = any(is_load(other.name) and "on" in other.states for other in now.scene.everything())
    return say("put", thing=thing, place=task["yes" if lit else "no"])


def _power(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    thing, source = words["thing"], words["source"]
    connected = fact.items(facts, "connected")
    first, second = _wires(connected, scene)
    connections = (
        f"{source} anode to {first} terminal 1",
        f"{source} cathode to {second} terminal 1",
        f"{first} terminal 2 to {thing} cathode",
        f"{second} terminal 2 to {thing} anode",
    )
    if len(connected) < len(connections):
        return Decision(f"connect {connections[len(connected)]}", False)
    if source in FUELED and source not in facts:
        return Decision(f"activate {source}", False)
    return Decision("wait1", False)


def _conduct(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    """Connect battery, wire, lamp, thing and wire; the lamp (or buzzer or motor) shows whether a current flows."""
    thing = words["thing"]
    connected = fact.items(facts, "connected")
    first, second = _wires(connected, scene)
    loads = [link.partition("-")[2] for link in connected[2:3]]
    loads += [other.name for other in scene.seen() if is_load(other.name)]
    load = next(iter(loads), "light bulb")
    connections = (
        f"battery anode to {first} terminal 1",
        f"battery cathode to {second} terminal 1",
        f"{first} terminal 2 to {load} cathode",
        f"{thing} terminal 1 to {second} terminal 2",
        f"{thing} terminal 2 to {load} anode",
    )
    if len(connected) < len(connections):
        return Decision(f"connect {connections[len(connected)]}", False)
    return Decision("wait1", True)


def _wires(connected: list[str], scene: Scene) -> tuple[str, str]:
    """The two wires of a circuit: those already connected, else the first in the observation."""
    used = [link.partition("-")[2] for link in connected[:2]]
    free = [thing.name for thing in scene.everything() if is_wire(thing.name) and thing.name not in used]
    first, second = (*used, *free, "wire", "wire")[:2]
    return first, second


RULES: dict[str, Rule] = {
    "power": _power,
    "conduct": _conduct,
}
