"""ALFWorld's expert: three pure functions of the roles' states."""

from __future__ import annotations

import random
import re

from step_hrl.envs.alfworld import NOTHING_HAPPENS
from step_hrl.experts.alfworld import search
from step_hrl.experts.alfworld.subtasks import Find, Look, Put, Treat, parse
from step_hrl.experts.alfworld.texts import Surroundings, kind_of, read, read_instruction
from step_hrl.experts.base import Expert
from step_hrl.prompts import high_level, local_progress, low_level
from step_hrl.prompts.low_level import Decision
from step_hrl.types import Segment

APPLIANCES = {"clean": "sinkbasin", "heat": "microwave", "cool": "fridge"}
"""The appliance of each treatment."""

_TOOK = re.compile(r"You pick up the (\w+ \d+) from the (\w+ \d+)\.")
_FOUND_AT = re.compile(r"took \w+ \d+ from (\w+ \d+)")


def next_subtask(state: high_level.State) -> str:
    """pi_h: the next treatment or placement of the held object; where the wanted object is not held, finding it."""
    goal, view = read_instruction(state.instruction), read(state.observation)
    completed = [parse(subtask) for subtask in state.completed_subtasks]
    placed = [subtask for subtask in completed if isinstance(subtask, Put)] if goal.how == "two" else []
    find = Find(goal.thing, placed[-1].thing, placed[-1].found_at) if placed else Find(goal.thing)
    if view.held is None or not find.wants(view.held):
        return str(find)
    if goal.how == "look":
        return str(Look(view.held, goal.place))
    treat = Treat(goal.how, view.held)
    if goal.how in APPLIANCES and treat not in completed:
        return str(treat)
    origin = _FOUND_AT.fullmatch(state.final_progress) if goal.how == "two" else None
    place = placed[0].place if placed else view.first(goal.place)
    return str(Put(view.held, origin[1] if origin else None, place))


def decide(state: low_level.State) -> Decision:
    """pi_l: complete the subtask where possible, else go where it may be possible."""
    subtask, view = parse(state.subtask), read(state.observation)
    if isinstance(subtask, Find):
        return _find(subtask, state, view)
    if isinstance(subtask, Look):
        lamp = next((name for name, _ in view.in_sight if subtask.wants(name)), None)
        return Decision(f"use {lamp}", True) if lamp else _look_on(subtask, state, view)
    if isinstance(subtask, Treat):
        appliance = view.first(APPLIANCES[subtask.how])
        return Decision(f"{subtask} with {appliance}", True) if appliance in view.here else _go(appliance)
    if subtask is None:
        return Decision("look", False)
    if subtask.place not in view.here:
        return _go(subtask.place)
    if view.here[subtask.place] is None:
        return Decision(f"open {subtask.place}", False)
    return Decision(f"move {subtask.thing} to {subtask.place}", True)


def update(state: local_progress.State) -> str:
    """pi_p: the furniture searched so far; once the subtask is done, its effect."""
    subtask, answer = parse(state.subtask), state.observation.text
    if isinstance(subtask, (Find, Look)):
        took = _TOOK.fullmatch(answer)
        if took is not None and isinstance(subtask, Find) and subtask.wants(took[1]):
            return f"took {took[1]} from {took[2]}"
        return search.noted(state.local_progress, read(state.observation))
    return f"done {subtask}" if _confirms(answer, state.subtask) else state.local_progress


def mistake(state: low_level.State, action: str, generator: random.Random) -> str:
    """Go to a random place, take an absent object, or take an object that is not wanted."""
    subtask, view = parse(state.subtask), read(state.observation)
    wanted = subtask.kind if isinstance(subtask, Find) else kind_of(view.held or "thing")
    visible = [thing for thing, _ in view.in_sight]
    absent = next(f"{wanted} {number}" for number in range(1, 100) if f"{wanted} {number}" not in visible)
    choices = [
        f"go to {generator.choice(view.room)}",
        f"take {absent} from {generator.choice([*view.here] or view.room)}",
    ]
    others = [(thing, place) for thing, place in view.in_sight if kind_of(thing) != wanted]
    if isinstance(subtask, Find) and others and view.held is None:
        thing, place = generator.choice(others)
        choices.append(f"take {thing} from {place}")
    return generator.choice(choices)


def achieved(segment: Segment) -> bool | None:
    """Whether an answer confirms that the subtask is done; None for an unknown subtask."""
    if parse(segment.subtask) is None:
        return None
    return any(_confirms(step.next_observation.text, segment.subtask) for step in segment.steps)


EXPERT = Expert("alfworld search 4", next_subtask, decide, update, mistake, achieved)


def _find(find: Find, state: low_level.State, view: Surroundings) -> Decision:
    if view.held is None or find.wants(view.held):
        wanted = next(((thing, place) for thing, place in view.in_sight if find.wants(thing)), None)
        return Decision(f"take {wanted[0]} from {wanted[1]}", True) if wanted else _look_on(find, state, view)
    # Another object is held: put it down first, at the next place if it is refused here.
    if view.open_here and state.observation.text != NOTHING_HAPPENS:
        return Decision(f"move {view.held} to {view.open_here[0]}", False)
    return _look_on(find, state, view)


def _look_on(wanted: Find | Look, state: low_level.State, view: Surroundings) -> Decision:
    return Decision(search.next_look(wanted, state.local_progress, view), False)


def _go(place: str) -> Decision:
    return Decision(f"go to {place}", False)


def _confirms(answer: str, subtask: str) -> bool:
    """Whether this is the game's answer to the action that completes the subtask."""
    parsed = parse(subtask)
    if isinstance(parsed, Find):
        took = _TOOK.fullmatch(answer)
        return took is not None and parsed.wants(took[1])
    if isinstance(parsed, Treat):
        return answer.startswith(f"You {parsed.how} the {parsed.thing} ")
    if isinstance(parsed, Put):
        return answer == f"You move the {parsed.thing} to the {parsed.place}."
    return parsed is not None and answer.startswith(f"You turn on the {parsed.lamp} ")
