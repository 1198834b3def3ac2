"""The expert of ALFWorld: looks for things as a person would, who knows where such things mostly are.

The games come with solutions, but those know where everything is: who imitates them learns no search. This expert
knows what it has been shown, and in which kinds of furniture the train games keep a thing (``alfworld_places.json``).
It is three pure functions of exactly what the three roles read.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from importlib import resources
from typing import NamedTuple

from step_hrl.envs.alfworld import NOTHING_HAPPENS, spans
from step_hrl.errors import WorldError
from step_hrl.experts.acting import RoleExpert
from step_hrl.roles import high_level, local_progress, low_level
from step_hrl.roles.low_level import Decision
from step_hrl.types import NOTHING, Observation, Segment

TREATMENTS = {"clean": "sinkbasin", "heat": "microwave", "cool": "fridge"}
"""What a thing is treated with."""

_ADJECTIVES = {"clean": "clean", "hot": "heat", "cool": "cool"}
_TREAT = re.compile(r"put a (clean|hot|cool) (\w+) in (\w+)|(clean|heat|cool) some (\w+) and put it in (\w+)")
_PUT_TWO = re.compile(r"(?:put two (\w+)|find two (\w+) and put them) in (\w+)")
_PUT_ONE = re.compile(r"put (?:a|some) (\w+) (?:in|on) (\w+)")
_EXAMINE = re.compile(r"(?:look at (\w+) under|examine the (\w+) with) the (\w+)")

_FIND = re.compile(r"find (\w+)(?:, not (\w+ \d+), from (\w+ \d+) on)?")
_USE = re.compile(r"(clean|heat|cool|put|look) (\w+ \d+)(?: from (\w+ \d+))?(?: (?:in|under) (\w+(?: \d+)?))?")

_LOOK = re.compile(r"((?:At \w+ \d+: [^.]*\. )*)Room: (.*)\.")
_SIGHT = re.compile(r"At (\w+ \d+): ([^.]*)\.")
_SPAN = re.compile(r"(\w+) (\d+)(?:-(\d+))?")
_TOOK = re.compile(r"You pick up the (\w+ \d+) from the (\w+ \d+)\.")
_CHECKED = "checked "
_ACHIEVED = {
    "find": "You pick up the ",
    "clean": "You clean the ",
    "heat": "You heat the ",
    "cool": "You cool the ",
    "put": "You move the ",
    "look": "You turn on the ",
}


class Goal(NamedTuple):
    """What an instruction asks for: ``treatment`` is a key of :data:`TREATMENTS`, ``put``, ``two`` or ``look``."""

    treatment: str
    thing: str
    place: str


class Surroundings(NamedTuple):
    """What an observation shows: the furniture within reach with the things in sight (None: closed), the room's
    furniture, and the thing in hand."""

    here: Mapping[str, tuple[str, ...] | None]
    room: tuple[str, ...]
    held: str | None

    @property
    def in_sight(self) -> list[tuple[str, str]]:
        """The things in sight, each with where it is."""
        return [(thing, place) for place, things in self.here.items() for thing in things or ()]

    @property
    def open_here(self) -> list[str]:
        """The furniture within reach that one sees into."""
        return [place for place, things in self.here.items() if things is not None]


def read_instruction(instruction: str) -> Goal:
    """The goal an instruction names. Raises WorldError for one that ALFWorld never gives.

    >>> read_instruction("put a hot mug in cabinet")
    Goal(treatment='heat', thing='mug', place='cabinet')
    """
    treat, two = _TREAT.fullmatch(instruction), _PUT_TWO.fullmatch(instruction)
    one, examine = _PUT_ONE.fullmatch(instruction), _EXAMINE.fullmatch(instruction)
    if treat is not None:
        return Goal(_ADJECTIVES[treat[1]], treat[2], treat[3]) if treat[1] else Goal(treat[4], treat[5], treat[6])
    if two is not None:
        return Goal("two", two[1] or two[2], two[3])
    if one is not None:
        return Goal("put", one[1], one[2])
    if examine is not None:
        return Goal("look", examine[1] or examine[2], examine[3])
    raise WorldError("alfworld expert", f"cannot read {instruction!r}", "give an instruction of ALFWorld's text games")


def next_subtask(state: high_level.State) -> str:
    """pi_h: what the thing in hand still needs; with empty hands, or another thing in them, finding the thing."""
    goal, seen = read_instruction(state.instruction), read(state.observation)
    uses = [_USE.fullmatch(subtask) for subtask in state.completed_subtasks]
    placed = [use for use in uses if use is not None and use[1] == "put"] if goal.treatment == "two" else []
    if seen.held is None or kind(seen.held) != goal.thing or any(use[2] == seen.held for use in placed):
        # Where the first was found and what lies before that has been searched.
        return f"find {goal.thing}" + (f", not {placed[-1][2]}, from {placed[-1][3]} on" if placed else "")
    if goal.treatment == "look":
        return f"look {seen.held} under {goal.place}"
    if goal.treatment in TREATMENTS and f"{goal.treatment} {seen.held}" not in state.completed_subtasks:
        return f"{goal.treatment} {seen.held}"
    took = re.fullmatch(r"took \w+ \d+ from (\w+ \d+)", state.final_progress)
    source = f" from {took[1]}" if goal.treatment == "two" and took is not None else ""
    target = placed[0][4] if placed else _first(goal.place, seen.room)
    return f"put {seen.held}{source} in {target}"


def decide(state: low_level.State) -> Decision:
    """pi_l: do what the subtask says where that is possible, else go where it may be."""
    seen = read(state.observation)
    find, use = _FIND.fullmatch(state.subtask), _USE.fullmatch(state.subtask)
    if find is not None:
        thing, other, start = find.groups()
        refused = state.observation.text == NOTHING_HAPPENS
        return _find(thing, other, start, seen, _checked(state.local_progress), refused=refused)
    if use is None:
        return Decision("look", False)
    verb, thing, _, place = use.groups()
    if verb == "look":
        lamp = next((name for name, _ in seen.in_sight if kind(name) == place), None)
        return Decision(f"use {lamp}", True) if lamp else _search(place, None, seen, _checked(state.local_progress))
    target = place if verb == "put" else _first(TREATMENTS[verb], seen.room)
    if target not in seen.here:
        return Decision(f"go to {target}", False)
    if verb != "put":
        return Decision(f"{verb} {thing} with {target}", True)
    closed = seen.here[target] is None
    return Decision(f"open {target}", False) if closed else Decision(f"move {thing} to {target}", True)


def update(state: local_progress.State) -> str:
    """pi_p: which furniture was looked at in vain; once the subtask's thing has been dealt with, what was done."""
    find, use = _FIND.fullmatch(state.subtask), _USE.fullmatch(state.subtask)
    answer, seen = state.observation.text, read(state.observation)
    if find is not None:
        took = _TOOK.fullmatch(answer)
        if took is not None and _is(took[1], find[1], find[2]):
            return f"took {took[1]} from {took[2]}"
        return _searched(state.local_progress, find[1], find[2], seen)
    if use is not None and use[1] == "look":
        return _searched(state.local_progress, use[4], None, seen)
    done = use is not None and answer.startswith(_ACHIEVED[use[1]])
    return f"done {state.subtask}" if done else state.local_progress


def mistake(state: low_level.State, generator: random.Random) -> str:
    """Walk somewhere, reach for what is not there, or pick up a thing that nobody asked for."""
    seen, find = read(state.observation), _FIND.fullmatch(state.subtask)
    wanted = find[1] if find is not None else kind(seen.held or "thing")
    things = [thing for thing, _ in seen.in_sight]
    absent = next(f"{wanted} {number}" for number in range(1, 100) if f"{wanted} {number}" not in things)
    choices = [
        f"go to {generator.choice(seen.room)}",
        f"take {absent} from {generator.choice([*seen.here, *seen.room])}",
    ]
    others = [(thing, place) for thing, place in seen.in_sight if kind(thing) != wanted]
    if find is not None and others and seen.held is None:
        thing, place = generator.choice(others)
        choices.append(f"take {thing} from {place}")
    return generator.choice(choices)


def achieved(segment: Segment) -> bool | None:
    """Whether the game answered that the subtask's thing was dealt with; None for an unknown subtask."""
    find, use = _FIND.fullmatch(segment.subtask), _USE.fullmatch(segment.subtask)
    if find is None and use is None:
        return None
    answers = [step.next_observation.text for step in segment.steps]
    if find is not None:
        took = [match[1] for match in map(_TOOK.fullmatch, answers) if match]
        return any(_is(name, find[1], find[2]) for name in took)
    assert use is not None, "one of both matched"
    subject = use[4] if use[1] == "look" else use[2]
    start = f"{_ACHIEVED[use[1]]}{subject} "
    end = f" {use[4]}." if use[1] == "put" else ""
    return any(answer.startswith(start) and answer.endswith(end) for answer in answers)


demonstrate = RoleExpert("alfworld search 1", next_subtask, decide, update, mistake).demonstrate


def read(observation: Observation) -> Surroundings:
    """What an observation shows. Raises WorldError for one that is not of ALFWorld."""
    match = _LOOK.fullmatch(observation.look or "")
    if match is None:
        raise WorldError("alfworld expert", f"cannot read {observation.look!r}", "give an observation of ALFWorld")
    here = {sight[1]: None if sight[2] == "closed" else tuple(_names(sight[2])) for sight in _SIGHT.finditer(match[1])}
    return Surroundings(here, tuple(_names(match[2])), observation.inventory or None)


def kind(name: str) -> str:
    """A name without its number."""
    return name.split(" ", 1)[0]


def _find(
    thing: str, other: str | None, start: str | None, seen: Surroundings, checked: Sequence[str], *, refused: bool
) -> Decision:
    stray = seen.held is not None and not _is(seen.held, thing, other)
    if stray and seen.open_here and not refused:
        # Hands must be free. Not everything may lie everywhere: what is refused here is put down at the next place.
        return Decision(f"move {seen.held} to {seen.open_here[0]}", False)
    wanted = next(((name, place) for name, place in seen.in_sight if _is(name, thing, other)), None)
    if wanted is not None and not stray:
        return Decision(f"take {wanted[0]} from {wanted[1]}", True)
    return _search(thing, start, seen, checked)


def _is(name: str, wanted: str, other: str | None) -> bool:
    """Whether a thing is of the wanted kind, and not the one that is done with already."""
    return kind(name) == wanted and name != other


def _search(thing: str, start: str | None, seen: Surroundings, checked: Sequence[str]) -> Decision:
    """Look at the first place in the order of search that was not looked at: go there, and open what is closed."""
    order = _order(thing, seen.room)
    if start in order:
        order = order[order.index(start) :] + order[: order.index(start)]
    unseen = [place for place in order if place not in seen.open_here]
    new = [place for place in unseen if place not in checked]
    place = (new or unseen or order)[0]
    return Decision(f"{'open' if place in seen.here else 'go to'} {place}", False)


def _order(thing: str, room: Sequence[str]) -> list[str]:
    kinds = _places().get(thing, ())
    rank = {name: place for place, name in enumerate(kinds)}
    return sorted(room, key=lambda name: rank.get(kind(name), len(rank)))  # stable: by name and number besides


@lru_cache(maxsize=1)
def _places() -> Mapping[str, Sequence[str]]:
    """For each kind of thing, the kinds of furniture in the order of search; see ``experiments/alfworld_places.py``."""
    return json.loads(resources.files("step_hrl.experts").joinpath("alfworld_places.json").read_text(encoding="utf-8"))


def _first(wanted: str, room: Sequence[str]) -> str:
    return next((name for name in room if kind(name) == wanted), f"{wanted} 1")


def _checked(progress: str) -> list[str]:
    return list(_names(progress.removeprefix(_CHECKED))) if progress.startswith(_CHECKED) else []


def _searched(progress: str, wanted: str, other: str | None, seen: Surroundings) -> str:
    """The furniture that was looked at in vain, with what is in sight now."""
    checked = _checked(progress)
    for place in seen.open_here:
        if not any(_is(thing, wanted, other) for thing in seen.here[place] or ()):
            checked = _noted(checked, place)
    return _CHECKED + ", ".join(span for run in _runs(checked) for span in spans(run)) if checked else NOTHING


def _noted(checked: Sequence[str], place: str) -> list[str]:
    """What was looked at and a place more: behind the one of its kind with the number before it, or last."""
    if place in checked:
        return list(checked)
    name, number = place.split(" ")
    before = f"{name} {int(number) - 1}"
    index = checked.index(before) + 1 if before in checked else len(checked)
    return [*checked[:index], place, *checked[index:]]


def _runs(names: Sequence[str]) -> Iterator[list[str]]:
    """Names cut where one does not follow on the other by number."""
    run: list[str] = []
    for name in names:
        if run and len(spans([run[-1], name])) > 1:
            yield run
            run = []
        run.append(name)
    if run:
        yield run


def _names(listed: str) -> Iterator[str]:
    """The single names of a list of names and spans: ``bed 1, drawer 1-2`` are three."""
    for match in _SPAN.finditer(listed):
        for number in range(int(match[2]), int(match[3] or match[2]) + 1):
            yield f"{match[1]} {number}"
