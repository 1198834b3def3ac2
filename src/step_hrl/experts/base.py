"""What an expert is: three pure functions, one a role, that answer from the role's state. One expert a world."""

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
    """A world's own solutions, replayed where its expert's rules fall short of the full score."""

    def actions(self, env: TextEnv, task: Task) -> list[str]:
        """The world's solution of a task. Runs in the worker of ``env`` and ends its running episode."""
        ...

    def cleaned(self, replay: Episode) -> Mapping[str, list[str]]:
        """Shorter paths that should do the same as a replayed solution, by name, the cleanest first."""
        ...

    def script(self, actions: Sequence[str]) -> list[str]:
        """The utterances of high and low level, in the order of the asks, that take these actions."""
        ...


@dataclass(frozen=True)
class Expert:
    """Rules that decide for each role from nothing but what that role reads, so that whatever they do can be learned.

    ``next_subtask`` and ``decide`` return None where the rules know no answer. ``mistake`` is an action instead of the
    given one that does not help, and ``wrong_subtask`` a subtask instead of the given one that cannot be done (None:
    none fits): noise for demonstrations of the way back. ``achieved`` tells whether a segment's subtask was achieved,
    None where nothing tells.
    """

    name: str
    """Name and version, as provenance carries it."""
    next_subtask: Callable[[high_level.State], str | None]
    decide: Callable[[low_level.State], Decision | None]
    update: Callable[[local_progress.State], str]
    mistake: Callable[[low_level.State, str, Random], str]
    achieved: Callable[[Segment], bool | None]
    wrong_subtask: Callable[[high_level.State, str, Random], str | None] | None = None
    solutions: Solutions | None = None

    def answer(self, ask: Ask) -> Utterance | None:
        """The utterance of the role that is asked; None where the rules know none.

        Raises :class:`~step_hrl.errors.WorldError` for a state that no expert reads, such as a transcript.
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
    """The expert of a world: ``EXPERT`` of its module, which is imported only now.

    Raises :class:`~step_hrl.errors.WorldError` for a world that has none.
    """
    if world_name not in _EXPERTS:
        raise WorldError("experts", f"no expert for world {world_name!r}", did_you_mean(world_name, _EXPERTS))
    return import_module(_EXPERTS[world_name]).EXPERT


def verifier_for(world_name: str) -> SubtaskVerifier:
    """Whether a subtask that the low level declares complete was achieved, as far as can be told.

    A subtask that cost score was not achieved. Otherwise the expert of the world decides from its texts; where it
    cannot tell, a rise of the score does, and where the score did not rise, the low level is trusted.
    """
    achieved = expert_for(world_name).achieved if world_name in _EXPERTS else None

    def verifier(segment: Segment) -> bool:
        if segment.reward < 0:
            return False
        known = achieved(segment) if achieved is not None else None
        return known if known is not None else segment.reward > 0 or trust_policy(segment)

    return verifier
