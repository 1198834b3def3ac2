"""The expert of ``pantry``: searches the house with no information other than its observations.

It consists of three pure functions of the roles' states, so that a policy can learn it from the prompts.
"""

from __future__ import annotations

import random
import re
from typing import NamedTuple

from step_hrl.envs.pantry_home import preposition
from step_hrl.errors import WorldError
from step_hrl.experts.base import Expert
from step_hrl.prompts import high_level, local_progress, low_level
from step_hrl.prompts.low_level import Decision
from step_hrl.types import Observation, Segment

_LOOK = re.compile(r"(\w+)\.(?: Here: (.*?)\.)?(?: Closed: (.*?)\.)?(?: Seen: (.*?)\.)? Doors: (.*)\.")
_NAME = re.compile(r"\w+(?: \w+)?")
_VISITED = "visited "
_PUT = re.compile(r"put (clean )?(\w+)(?: and (\w+))? ((?:in|on) \w+)")
_EXAMINE = re.compile(r"examine (\w+) under lamp")
_SUBTASK = re.compile(r"(find|clean|put|examine) (\w+)(?: (?:in|on|under) (\w+))?")

_ABSENT = ("piano", "ladder", "carpet")
"""Things that occur in no house."""


class _Room(NamedTuple):
    name: str
    here: list[str]
    closed: list[str]
    seen: list[str]
    doors: list[str]


def plan(instruction: str) -> tuple[str, ...]:
    """The subtasks of an instruction. Raises WorldError for an instruction that is not from ``pantry``."""
    examine = _EXAMINE.fullmatch(instruction)
    if examine is not None:
        return f"find {examine[1]}", instruction
    put = _PUT.fullmatch(instruction)
    if put is None:
        raise WorldError("pantry expert", f"cannot read {instruction!r}", "give an instruction of the pantry world")
    subtasks: list[str] = []
    for thing in filter(None, (put[2], put[3])):
        subtasks += [f"find {thing}", *([f"clean {thing} in sink"] if put[1] else []), f"put {thing} {put[4]}"]
    return tuple(subtasks)


def next_subtask(state: high_level.State) -> str:
    """pi_h: the first subtask of the plan that is not completed; the last one where all are completed."""
    subtasks = plan(state.instruction)
    return next((subtask for subtask in subtasks if subtask not in state.completed_subtasks), subtasks[-1])


def decide(state: low_level.State) -> Decision:
    """pi_l: complete the subtask where possible, else continue the search: open, go to a new room, go back."""
    room = _room(state.observation)
    subtask = _SUBTASK.fullmatch(state.subtask)
    if subtask is None or room is None:
        return Decision("look", False)
    verb, thing, place = subtask.groups()
    decision = _find(thing, room) if verb == "find" else _use(verb, thing, place, room)
    return decision or _walk(state.local_progress, room)


def update(state: local_progress.State) -> str:
    """pi_p: the rooms visited; once the subtask is done, its action and object."""
    done = re.fullmatch(r"You (take|put|clean|examine) the (\w+) .*", state.observation.text)
    if done is not None:
        return f"done {done[1]} {done[2]}"
    left, room = re.fullmatch(r"You leave the (\w+)\.", state.observation.text), _room(state.observation)
    if left is None or room is None:
        return state.local_progress
    visited = _visited(state.local_progress) or [left[1]]
    return _VISITED + ", ".join(visited if room.name in visited else [*visited, room.name])


def achieved(segment: Segment) -> bool | None:
    """Whether an answer confirms the subtask's action on its object; None for an unknown subtask."""
    subtask = _SUBTASK.fullmatch(segment.subtask)
    if subtask is None:
        return None
    verb, thing, place = subtask.groups()
    start, end = f"You {'take' if verb == 'find' else verb} the {thing} ", f" {place}." if place else ""
    answers = [step.next_observation.text for step in segment.steps]
    return any(answer.startswith(start) and answer.endswith(end) for answer in answers)


def mistake(state: low_level.State, action: str, generator: random.Random) -> str:
    """An action on a thing that does not exist, which has no effect."""
    return f"{generator.choice(('open', 'take'))} {generator.choice(_ABSENT)}"


EXPERT = Expert("pantry search 2", next_subtask, decide, update, mistake, achieved)


def _find(thing: str, room: _Room) -> Decision | None:
    if thing in room.seen:
        return Decision(f"take {thing}", True)
    return Decision(f"open {room.closed[0]}", False) if room.closed else None


def _use(verb: str, thing: str, place: str | None, room: _Room) -> Decision | None:
    if place in room.closed:
        return Decision(f"open {place}", False)
    if verb == "examine" and place in room.here:
        return Decision("turn on lamp", False)
    if verb == "examine":
        return Decision(f"examine {thing}", True) if f"lit {place}" in room.here else None
    if place is None or place not in room.here:
        return None
    return Decision(f"clean {thing}" if verb == "clean" else f"put {thing} {preposition(place)} {place}", True)


def _walk(progress: str, room: _Room) -> Decision:
    visited = _visited(progress)
    return Decision(f"go to {next((door for door in room.doors if door not in visited), room.doors[0])}", False)


def _room(observation: Observation) -> _Room | None:
    match = _LOOK.fullmatch(observation.look or "")
    if match is None:
        return None
    here, closed, seen, doors = (_NAME.findall(listed.lower()) if listed else [] for listed in match.groups()[1:])
    return _Room(match[1], here, closed, seen, doors)


def _visited(progress: str) -> list[str]:
    return progress.removeprefix(_VISITED).split(", ") if progress.startswith(_VISITED) else []
