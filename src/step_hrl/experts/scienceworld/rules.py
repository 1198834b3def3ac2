"""ScienceWorld's expert, composed of the rules of its roles."""

from __future__ import annotations

from random import Random

from step_hrl.experts.base import Expert
from step_hrl.experts.scienceworld import giving_up, high_level, low_level, progress, subtasks
from step_hrl.experts.scienceworld.achievement import achieved
from step_hrl.experts.scienceworld.mistakes import slip
from step_hrl.experts.scienceworld.solutions import GoldPaths
from step_hrl.prompts import high_level as pi_h
from step_hrl.prompts import local_progress as pi_p
from step_hrl.prompts import low_level as pi_l
from step_hrl.prompts.low_level import Decision

REPEATS = 3
"""The high level gives up after this many repetitions of a subtask."""


def next_subtask(state: pi_h.State) -> str | None:
    """pi_h: the next subtask of the plan; None at the end of the plan and after repetitions of one subtask."""
    done = state.completed_subtasks
    subtask = high_level.next_subtask(state.instruction, done, state.final_progress, state.observation)
    return None if subtask is None or done[-REPEATS:] == (subtask,) * REPEATS else subtask


def decide(state: pi_l.State) -> Decision | None:
    """pi_l: the next action of the subtask."""
    return low_level.act(state.subtask, state.local_progress, state.observation)


def update(state: pi_p.State) -> str:
    """pi_p: the previous facts and those that the last action adds."""
    return progress.update(state.subtask, state.local_progress, state.action, state.observation)


def mistake(state: pi_l.State, action: str, generator: Random) -> str:
    """An unhelpful action."""
    return slip(subtasks.read(state.subtask).kind, action, state.observation, generator)


def wrong_subtask(state: pi_h.State, subtask: str, generator: Random) -> str | None:
    """The same subtask with an absent thing."""
    return giving_up.wrong_subtask(subtask, state.observation, generator)


EXPERT = Expert(
    "scienceworld rules 2",
    next_subtask,
    decide,
    update,
    mistake,
    achieved,
    wrong_subtask,
    GoldPaths(),
)
