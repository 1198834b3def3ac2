"""The local progress: a pure function of the progress policy's state.

There is no memory besides the text: every update parses the previous progress, so that a policy can learn it.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from step_hrl.experts.scienceworld import facts as fact
from step_hrl.experts.scienceworld import giving_up, screen, subtasks
from step_hrl.experts.scienceworld.facts import Facts
from step_hrl.experts.scienceworld.knowledge import is_load
from step_hrl.types import Observation

_NOT_UNDERSTOOD = ("No known action", "Unknown action", "The reply could not be read", "I'm not sure")
_REFUSAL = re.compile(r"\b(?:can't|cannot|isn't|doesn't|(?:is|does) not|not (?:clear|sure)|is empty)\b")
_AMBIGUOUS = "Ambiguous request"

_Rule = Callable[[Facts, "re.Match[str]", str, screen.Scene], None]


def update(subtask: str, progress: str, action: str, observation: Observation) -> str:
    """The progress text after ``action`` in ``subtask`` led to ``observation``. Never raises.

    >>> update("go to the kitchen", "visited: hallway", "go to kitchen", Observation("You move to the kitchen."))
    'visited: hallway, kitchen'
    """
    facts = fact.parse(progress)
    for key in fact.FAILURES:
        facts.pop(key, None)
    answer = observation.text.strip()
    if not action or answer.startswith(_NOT_UNDERSTOOD):
        facts[fact.NOT_UNDERSTOOD] = fact.clean(action)[:80] or "no action"
        return fact.render(facts)
    facts.pop("asked", None)
    if answer.startswith(_AMBIGUOUS):
        facts["asked"] = "which one"
        return fact.render(facts)
    scene = screen.read(observation)
    absent = giving_up.missing(subtasks.read(subtask), facts, scene) if action == giving_up.LOOK else None
    if absent is not None:
        facts[fact.MISSING] = fact.clean(absent)
    for pattern, rule in _RULES:
        if match := pattern.search(f"{action} => {answer}"):
            rule(facts, match, answer, scene)
            break
    else:
        if _REFUSAL.search(answer):
            facts[fact.REFUSED] = fact.clean(action)[:80]
    return fact.render(facts)


def _visited(facts: Facts, match: re.Match[str], answer: str, scene: screen.Scene) -> None:
    fact.add(facts, "visited", match["room"])


def _focused(facts: Facts, match: re.Match[str], answer: str, scene: screen.Scene) -> None:
    facts["focused"] = fact.clean(match["thing"])


def _moved(facts: Facts, match: re.Match[str], answer: str, scene: screen.Scene) -> None:
    if match["place"] == "inventory":
        fact.add(facts, "holding", match["named"] or match["thing"])
    else:
        facts["moved"] = fact.clean(f"{match['thing']} to {match['place']}")


def _measured(facts: Facts, match: re.Match[str], answer: str, scene: screen.Scene) -> None:
    facts.pop("waited", None)
    facts["temperature"] = f"{match['degrees']}C"


def _waited(facts: Facts, match: re.Match[str], answer: str, scene: screen.Scene) -> None:
    facts["waited"] = str(fact.count(facts, "waited") + 1)
    if "connected" in facts:
        _note_lit_load(facts, scene)


def _opened(facts: Facts, match: re.Match[str], answer: str, scene: screen.Scene) -> None:
    fact.add(facts, "opened", match["thing"])


_STATES = {"activated": "on", "deactivated": "off", "broken": "broken"}


def _switched(facts: Facts, match: re.Match[str], answer: str, scene: screen.Scene) -> None:
    facts[fact.clean(match["thing"]).replace(":", "")] = _STATES[match["state"]]


def _connected(facts: Facts, match: re.Match[str], answer: str, scene: screen.Scene) -> None:
    fact.add(facts, "connected", f"{match['one'].strip()}-{match['other'].strip()}")
    _note_lit_load(facts, scene)


def _note_lit_load(facts: Facts, scene: screen.Scene) -> None:
    lit = next((thing.name for thing in scene.everything() if is_load(thing.name) and "on" in thing.states), None)
    if lit is not None:
        facts["lit"] = fact.clean(lit)


def _read(facts: Facts, match: re.Match[str], answer: str, scene: screen.Scene) -> None:
    facts["recipe"] = fact.clean(match["things"])


def _added(facts: Facts, match: re.Match[str], answer: str, scene: screen.Scene) -> None:
    fact.add(facts, "added", match["thing"])


def _mixed(facts: Facts, match: re.Match[str], answer: str, scene: screen.Scene) -> None:
    facts["mixed"] = fact.clean(match["thing"])


_RULES: tuple[tuple[re.Pattern[str], _Rule], ...] = (
    (re.compile(r"=> You move to the (?P<room>[a-z ]+)\."), _visited),
    (re.compile(r"=> You focus on the (?P<thing>.+?)\.$"), _focused),
    (re.compile(r"^(?:pick up (?P<named>.+)|.*) => .*?You move the (?P<thing>.+?) to the (?P<place>.+?)\.$"), _moved),
    (re.compile(r"temperature of (?P<degrees>-?\d+) degrees"), _measured),
    (re.compile(r"The recipe reads: .*you need to mix (?P<things>.+?)\.$"), _read),
    (re.compile(r"^pour .+? containing (?P<thing>.+?) into .+ => You pour"), _added),
    (re.compile(r" mix to produce (?:an? )?(?P<thing>.+?)\.$"), _mixed),
    (re.compile(r" on (?P<one>.+?) is now connected to .+? on (?P<other>.+?)$"), _connected),
    (re.compile(r"=> You decide to wait"), _waited),
    (re.compile(r"=> The (?!door)(?P<thing>[a-z ]+) is now open"), _opened),
    (re.compile(r"=> The (?P<thing>[a-z ]+) appears (?P<state>broken)"), _switched),
    (re.compile(r"=> The (?P<thing>[a-z ]+) is now (?P<state>activated|deactivated)"), _switched),
)
