"""The low level: the next action of a subtask, from the subtask, the progress and the screen alone."""

from __future__ import annotations

from collections.abc import Callable

from step_hrl.experts.scienceworld import facts as fact
from step_hrl.experts.scienceworld import house, matter, screen, subtasks
from step_hrl.experts.scienceworld.facts import Facts
from step_hrl.experts.scienceworld.knowledge import FUELLED, is_load, is_wire, phase
from step_hrl.experts.scienceworld.screen import Scene, Thing
from step_hrl.roles.low_level import Decision
from step_hrl.types import Observation

Words = dict[str, str]


def act(subtask: str, progress: str, observation: Observation) -> Decision | None:
    """The action to take, and whether it completes the subtask; None where the expert does not know."""
    kind, words = subtasks.read(subtask)
    rule = _RULES.get(kind)
    facts = fact.parse(progress)
    if rule is None:
        return None
    if "asked" in facts:
        return Decision("0", kind in ("focus", "find", "await", "put", "plant", "dig"))
    return rule(words, facts, screen.read(observation))


def _go(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    room = house.next_room(scene.room, words["room"])
    if room is None:
        return None
    if not scene.doors.get(room, False):
        return Decision(f"open door to {room}", False)
    return Decision(f"go to {room}", room == words["room"])


def _focus(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    """Of several alike the world asks which one is meant: the subtask is done only with the answer."""
    return Decision(f"focus on {words['thing']}", scene.alike(words["thing"]) < 2)


def _take(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    if "focused" not in facts:
        return Decision(f"focus on {words['thing']}", False)
    return Decision(f"pick up {words['thing']}", True)


def _take_plant(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    if "focused" not in facts:
        return Decision(f"focus on {words['thing']} in {words['pot']}", False)
    return Decision(f"pick up {words['pot']}", True)


def _put(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    if "moved" in facts:
        return Decision("look around", True)
    thing, alike = words["thing"], scene.alike(words["thing"])
    held = sum(other.count for other in scene.held if screen.means(thing, other.name))
    if 0 < held < alike:
        thing, alike = f"{thing} in inventory", held
    return Decision(f"move {thing} to {words['place']}", alike < 2)


def _measure(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    return Decision(f"use thermometer on {words['thing']}", True)


def _collect(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    missing = [thing for thing in words["things"].split(", ") if not scene.holding(thing)]
    return Decision(f"pick up {missing[0]}", len(missing) == 1) if missing else None


def _drop(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    return Decision(f"drop {words['thing']}", True)


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
    if source in FUELLED and source not in facts:
        return Decision(f"activate {source}", False)
    return Decision("wait1", False)


def _conduct(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    """Battery, wire, lamp, the thing itself, wire: the lamp (or buzzer, or motor) shows whether a current flows."""
    thing = words["thing"]
    connected = fact.items(facts, "connected")
    first, second = _wires(connected, scene)
    load = next((shown.name for shown in scene.seen() if is_load(shown.name)), "light bulb")
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
    """The two wires of a circuit: those already connected, else the first the screen lists."""
    used = [link.partition("-")[2] for link in connected[:2]]
    free = [thing.name for thing in scene.everything() if is_wire(thing.name) and thing.name not in used]
    first, second = (*used, *free, "wire", "wire")[:2]
    return first, second


def _read(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    return Decision(f"read {words['thing']}", True)


def _mix(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    vessel = words["vessel"]
    inside = scene.find(vessel)
    for ingredient in words["things"].split(", "):
        if inside is None or not any(screen.means(ingredient, thing.name) for thing in inside.contents):
            return _add(ingredient, vessel, facts, scene)
    sink = scene.find("sink")
    if sink is not None and "on" in sink.states:
        return Decision("deactivate sink", False)
    return Decision(f"mix {vessel}", True)


def _add(ingredient: str, vessel: str, facts: Facts, scene: Scene) -> Decision | None:
    if ingredient == "water":
        sink = scene.find("sink")
        filling = sink is not None and sink.holds(vessel)
        return Decision("activate sink" if filling else f"move {vessel} to sink", False)
    found = scene.find(ingredient)
    if found is None:
        return _search(ingredient, scene)
    holder = matter.holder(scene, found)
    if phase(ingredient) == "liquid" and holder is not None:
        return Decision(f"pour {holder.name} containing {ingredient} into {vessel}", False)
    if holder is not None and holder.name.endswith("jar") and holder.name not in fact.items(facts, "opened"):
        return Decision(f"open {holder.name}", False)
    return Decision(f"move {ingredient} to {vessel}", False)


def _await(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    if scene.alike(words["thing"]):
        return _focus(words, facts, scene)
    return Decision("wait1" if words["thing"].endswith(" stage") else "wait", False)


def _dig(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    if any(thing.name == words["thing"] for thing in scene.things):
        return Decision(f"pick up {words['thing']}", scene.alike(words["thing"]) < 2)
    return Decision("use shovel on ground", False)


def _plant(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    """Seeds lie in the jar by the handful: the world always asks which one is meant."""
    if "moved" in facts:
        return Decision("look around", True)
    return Decision(f"move {words['thing']} in seed jar to {words['pot']}", False)


def _bees(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    ways_out = [room for room, is_open in scene.doors.items() if is_open]
    return Decision(f"close door to {ways_out[0]}", False) if ways_out else Decision("open bee hive", True)


def _turn_on(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    return Decision(f"activate {words['device']}", True)


def _grow(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    return Decision("wait", False)


_OPENED_FIRST = ("fridge", "freezer", "cupboard", "oven")
"""In which order closed things are opened to look for something; any others as listed."""


def _search(name: str, scene: Scene) -> Decision | None:
    closed = [thing.name for thing in scene.things if "closed" in thing.states]
    ranked = sorted(closed, key=lambda thing: _OPENED_FIRST.index(thing) if thing in _OPENED_FIRST else 9)
    return Decision(f"open {ranked[0]}", False) if ranked else None


def _find(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    if scene.find(words["thing"]) is None:
        return _search(words["thing"], scene)
    return Decision(f"focus on {words['thing']}", True)


def _get(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    if not scene.has(words["thing"]):
        return _search(words["thing"], scene)
    return Decision(f"pick up {words['thing']}", True)


def _fill(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    if facts.get("sink") == "broken":
        return Decision("look around", True)
    sink = scene.find("sink")
    if sink is None or not sink.holds(words["thing"]):
        return Decision(f"move {words['thing']} to sink", False)
    if "on" in sink.states:
        return Decision("deactivate sink", True)
    return Decision("activate sink", False)


def _heat(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    found = matter.find(scene, words["thing"])
    if found is None:
        return Decision("wait", False)
    if inserted := _insert(found, "oven", scene, bare=words["change"] == "boils"):
        return inserted
    if words["change"] == "boils":
        return Decision("wait", False)
    if phase(found.name) == "liquid":
        return Decision(f"pick up {_portable(found, scene)}", True)
    return Decision("wait1", False)


def _cool(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    found = matter.find(scene, words["thing"])
    if found is None:
        return None
    if inserted := _insert(found, "freezer", scene):
        return inserted
    if phase(found.name) == "solid":
        return Decision(f"pick up {_portable(found, scene)}", True)
    return Decision("wait", False)


def _melt(words: Words, facts: Facts, scene: Scene) -> Decision | None:
    found = matter.find(scene, words["thing"])
    if found is None:  # it burned
        return Decision("wait1", True)
    if inserted := _insert(found, "oven", scene, bare=True):
        return inserted
    measure = f"use thermometer on {found.name}"
    if phase(found.name) == "liquid":
        return Decision(measure, True)
    degrees = facts.get("temperature", "").removesuffix("C").lstrip("-")
    if degrees.isdigit() and int(degrees) >= _WARM_CELSIUS and "waited" not in facts:
        return Decision("wait", False)
    return Decision(measure, False)


_WARM_CELSIUS = 40
"""What is still solid at this temperature takes long to melt: the expert waits between its measurements."""


def _insert(found: Thing, device: str, scene: Scene, bare: bool = False) -> Decision | None:
    """The action that brings a thing nearer to being in a working device; None where it is."""
    target = scene.find(device)
    if target is None or found in target.inside():
        return None
    if "closed" in target.states:
        return Decision(f"open {device}", False)
    if "off" in target.states:
        return Decision(f"activate {device}", False)
    return Decision(f"move {_portable(found, scene, bare)} to {device}", False)


def _portable(found: Thing, scene: Scene, bare: bool = False) -> str:
    """What an action must name to move a thing: its vessel; where ``bare``, the thing itself if it is solid."""
    vessel = matter.holder(scene, found)
    if vessel is None or (bare and phase(found.name) == "solid"):
        return found.name
    return scene.call(vessel)


_RULES: dict[str, Callable[[Words, Facts, Scene], Decision | None]] = {
    "go": _go,
    "focus": _focus,
    "take": _take,
    "take_plant": _take_plant,
    "put": _put,
    "measure": _measure,
    "find": _find,
    "get": _get,
    "fill": _fill,
    "heat": _heat,
    "cool": _cool,
    "melt": _melt,
    "dig": _dig,
    "plant": _plant,
    "bees": _bees,
    "turn_on": _turn_on,
    "grow": _grow,
    "await": _await,
    "read": _read,
    "mix": _mix,
    "collect": _collect,
    "drop": _drop,
    "power": _power,
    "conduct": _conduct,
}
