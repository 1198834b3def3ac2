"""Interface of experts: three pure functions, one per role, of the role's state. One expert per world."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from random import Random
from typing import Protocol

from step_hrl.data.transitions import SubtaskVerifier, trust_policy
from step_hrl.envs.base import TextEnv
from step_hrl.errors import WorldError, did_you_mean
from step_hrl.prompts import high_level, local_progress, low_level
from step_hrl.prompts.low_level import Decision
from step_hrl.types import Ask, Episode, Segment, Task, Utterance


class Solutions(Protocol):
    """Solutions that a world provides, replayed where the expert's rules do not reach the full score."""

    def actions(self, env: TextEnv, task: Task) -> list[str]:
        """The world's solution of a task. Runs in the worker of ``env`` and ends its current episode."""
        ...

    def cleaned(self, replay: Episode) -> Mapping[str, list[str]]:
        """Shorter variants of a replayed solution that should have the same effect, by name, in order of preference."""
        ...

    def script(self, actions: Sequence[str]) -> list[str]:
        """The utterances of high and low level that take these actions, in the order of the asks."""
        ...


@dataclass(frozen=True)
class Expert:
    """A rule-based expert. Each rule depends only on the state of its role, so that a policy can learn it.

    ``next_subtask`` and ``decide`` return None where no rule applies. ``mistake`` returns an unhelpful action and
    ``wrong_subtask`` an impossible subtask (or None) in place of the given one: noise for demonstrations of recovery.
    ``achieved`` decides whether a segment's subtask was achieved; None where the texts do not show it.
    """

    name: str
    """Name and version, recorded in provenance."""
    next_subtask: Callable[[high_level.State], str | None]
    decide: Callable[[low_level.State], Decision | None]
    update: Callable[[local_progress.State], str]
    mistake: Callable[[low_level.State, str, Random], str]
    achieved: Callable[[Segment], bool | None]
    wrong_subtask: Callable[[high_level.State, str, Random], str | None] | None = None
    solutions: Solutions | None = None

    def answer(self, ask: Ask) -> Utterance | None:
        """The utterance of the role that is asked; None where no rule applies.

        Raises :class:`~step_hrl.errors.WorldError` for a state that experts do not support, such as a transcript.
        """
        state = ask.state
        if isinstance(state, high_level.State):
            subtask = self.next_subtask(state)
            return None if subtask is None else Utterance(high_level.utterance(subtask))
        if isinstance(state, low_level.State):
            decision = self.decide(state)
            return None if decision is None else Utterance(low_level.utterance(decision))
        if isinstance(state, local_progress.State):
            return Utterance(local_progress.utterance(self.update(state)))
        remedy = "use an agent that reads one step, such as agent.type=step_hrl"
        raise WorldError("experts", f"{self.name} cannot answer from a transcript", remedy)


_EXPERTS = {name: f"step_hrl.experts.{name}" for name in ("alfworld", "pantry", "scienceworld")}


def expert_for(world_name: str) -> Expert:
    """The expert of a world: ``EXPERT`` of its module, which is imported on demand.

    Raises :class:`~step_hrl.errors.WorldError` for a world without an expert.
    """
    if world_name not in _EXPERTS:
        raise WorldError("experts", f"no expert for world {world_name!r}", did_you_mean(world_name, _EXPERTS))
    return import_module(_EXPERTS[world_name]).EXPERT


def verifier_for(world_name: str) -> SubtaskVerifier:
    """The verifier of a world: decides whether a subtask that the low level declares complete was achieved.

    A subtask with negative reward was not achieved. Otherwise the world's expert decides from the texts; where it
    cannot, a subtask with positive reward was achieved, and without reward the low level's flag is trusted.
    """
    achieved = expert_for(world_name).achieved if world_name in _EXPERTS else None

    def verifier(segment: Segment) -> bool:
        if segment.reward < 0:
            return False
        known = achieved(segment) if achieved is not None else None
        return known if known is not None else segment.reward > 0 or trust_policy(segment)

    return verifier
