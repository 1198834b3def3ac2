"""What an agent is: a generator that yields what it wants said or done, and is sent what came of it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Protocol

from step_hrl.data.transitions import SubtaskVerifier
from step_hrl.errors import UnreadableReply
from step_hrl.prompts import high_level
from step_hrl.prompts.low_level import Decision
from step_hrl.prompts.text import REPLY_CHARACTERS
from step_hrl.types import (
    NOTHING,
    Act,
    Ask,
    EndedBy,
    Episode,
    Observation,
    Outcome,
    Role,
    Segment,
    Step,
    Task,
    Transition,
    Utterance,
)

Play = Generator[Ask | Act, Utterance | Outcome, None]
"""An :class:`Ask` is answered by an :class:`Utterance`, an :class:`Act` by an :class:`Outcome`."""


class Watcher(Protocol):
    """Someone who looks on while episodes are played."""

    def segment_started(self, task: Task, segment_index: int, subtask: str) -> None:
        """A subtask was named."""
        ...

    def step_taken(self, task: Task, step: Step) -> None:
        """An action was taken and its progress written."""
        ...

    def episode_finished(self, episode: Episode) -> None:
        """The episode is over and recorded."""
        ...


class EpisodeLog:
    """Collects an episode's segments while it is played, so that a broken episode keeps what had happened."""

    def __init__(self, task: Task, watcher: Watcher | None = None) -> None:
        self.task = task
        self._watcher = watcher
        self._finished: list[Segment] = []
        self._open: Segment | None = None
        self._steps: list[Step] = []

    def begin(self, segment: Segment) -> None:
        """Start a segment (given without steps); the one before must have ended."""
        self._open, self._steps = segment, []
        if self._watcher:
            self._watcher.segment_started(self.task, len(self._finished), segment.subtask)

    def step(self, step: Step) -> None:
        """Record a step of the running segment."""
        self._steps.append(step)
        if self._watcher:
            self._watcher.step_taken(self.task, step)

    def end(self, ended_by: EndedBy) -> None:
        """End the running segment; without one, nothing happens."""
        if self._open is not None:
            self._finished.append(_closed(self._open, self._steps, ended_by))
            self._open = None

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Everything recorded so far; a segment still open counts as cut by the limit."""
        running = [_closed(self._open, self._steps, "limit")] if self._open is not None else []
        return (*self._finished, *running)


def _closed(segment: Segment, steps: list[Step], ended_by: EndedBy) -> Segment:
    return Segment(
        segment.subtask,
        segment.completed_subtasks,
        segment.previous_final_progress,
        segment.first_observation,
        tuple(steps),
        ended_by,
        segment.unreadable,
        segment.usage,
    )


class Agent(Protocol):
    """Decides; knows neither the world's connection nor the engine."""

    @property
    def name(self) -> str:
        """How results call it."""
        ...

    def play(self, task: Task, observation: Observation, log: EpisodeLog) -> Play:
        """Play one episode from its first observation until an outcome is over, recording it in the log."""
        ...

    def transitions(self, episode: Episode, verifier: SubtaskVerifier) -> list[Transition]:
        """Cut an episode, whoever lived it, into what this agent would have read and said: what it is trained on."""
        ...


def begin_subtask(state: high_level.State, log: EpisodeLog) -> Generator[Ask | Act, Utterance | Outcome, str | None]:
    """Ask the high level for a subtask and begin its segment; None, and all is over, where it said nothing readable."""
    named = said((yield Ask(Role.HIGH, high_level.render(state))))
    try:
        subtask, unreadable = high_level.parse(named.text), None
    except UnreadableReply:
        subtask, unreadable = "", named.text
    earlier = (state.completed_subtasks, state.final_progress, state.observation)
    log.begin(Segment(subtask, *earlier, (), "policy", unreadable, named.usage))
    if unreadable is None:
        return subtask
    log.end("unreadable")  # nothing to act on, and asking again would bring the same
    return None


@dataclass(frozen=True, slots=True)
class Attempt:
    """What the low level said, and what came of it. ``decision`` is None where it could not be read."""

    decision: Decision | None
    reply: Utterance
    outcome: Outcome

    @property
    def action(self) -> str:
        """What was done; empty where the reply could not be read."""
        return self.decision.action if self.decision else ""

    def step(self, observation: Observation, progress: str = NOTHING, *, dropped: int | None = None) -> Step:
        """The step to record, before any progress is written of it; ``dropped`` as in :class:`Step`."""
        return Step(
            observation=observation,
            local_progress=progress,
            action=self.action,
            subtask_done=self.decision.subtask_done if self.decision else False,
            reward=self.outcome.reward,
            next_observation=self.outcome.observation,
            next_local_progress=None,
            is_valid_action=self.outcome.is_valid_action,
            terminated=self.outcome.terminated,
            truncated=self.outcome.truncated,
            unreadable=None if self.decision else self.reply.text,
            dropped=dropped,
            usages={Role.LOW: self.reply.usage},
        )


def attempt(
    prompt: str, parse: Callable[[str], Decision], unreadable_action: str | None
) -> Generator[Ask | Act, Utterance | Outcome, Attempt]:
    """Ask the low level and do what it says; ``unreadable_action`` where that cannot be read."""
    reply = said((yield Ask(Role.LOW, prompt)))
    try:
        decision = parse(reply.text)
    except UnreadableReply:
        decision = None
    outcome = happened((yield Act(decision.action if decision else unreadable_action)))
    return Attempt(decision, reply, outcome)


def said(answer: Utterance | Outcome) -> Utterance:
    """The answer to an Ask, typed and of bounded length. Raises TypeError where the driver mixed them up."""
    if not isinstance(answer, Utterance):
        raise TypeError(f"an Ask was answered by {type(answer).__name__}")
    return replace(answer, text=answer.text[:REPLY_CHARACTERS]) if len(answer.text) > REPLY_CHARACTERS else answer


def happened(answer: Utterance | Outcome) -> Outcome:
    """The answer to an Act, typed. Raises TypeError where the driver mixed them up."""
    if not isinstance(answer, Outcome):
        raise TypeError(f"an Act was answered by {type(answer).__name__}")
    return answer
