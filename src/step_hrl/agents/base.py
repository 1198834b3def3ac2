"""What an agent is: a generator that yields what it asks for or does, and is sent the answer."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from step_hrl.data.transitions import SubtaskVerifier
from step_hrl.errors import UnreadableReply
from step_hrl.prompts import high_level, local_progress
from step_hrl.prompts.low_level import Decision
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

Play = Generator[Ask | Act, Any, None]
"""An :class:`Ask` is answered by an :class:`Utterance`, an :class:`Act` by an :class:`Outcome`."""

Parsed = TypeVar("Parsed")


class Watcher(Protocol):
    """Receives an episode's events while it is played."""

    def segment_started(self, task: Task, segment_index: int, subtask: str) -> None:
        """The high level has named a subtask."""
        ...

    def step_taken(self, task: Task, step: Step) -> None:
        """A step is complete, its progress update included."""
        ...

    def episode_finished(self, episode: Episode) -> None:
        """The episode is over and recorded."""
        ...


class EpisodeLog:
    """Collects an episode's segments while it is played, so that a broken episode keeps what has happened so far."""

    def __init__(self, task: Task, watcher: Watcher | None = None) -> None:
        self.task = task
        self._watcher = watcher
        self._finished: list[Segment] = []
        self._open: Segment | None = None
        self._steps: list[Step] = []

    def begin(self, state: high_level.State, reply: Utterance) -> str | None:
        """Open the segment that the high level's reply names; return its subtask.

        None where the reply cannot be parsed: there is nothing to act on, so the segment ends at once.
        """
        subtask = parse_or_none(high_level.parse, reply)
        unreadable = reply.text if subtask is None else None
        read = (state.completed_subtasks, state.final_progress, state.observation)
        self.open(Segment(subtask or "", *read, (), "policy", unreadable, reply.usage, reply.is_noise or None))
        if subtask is None:
            self.end()
        return subtask

    def open(self, segment: Segment) -> None:
        """Open a segment (given without steps); the one before must have ended."""
        self._open, self._steps = segment, []
        if self._watcher:
            self._watcher.segment_started(self.task, len(self._finished), segment.subtask)

    def step(self, step: Step) -> None:
        """Record a step of the open segment."""
        self._steps.append(step)
        if self._watcher:
            self._watcher.step_taken(self.task, step)

    def end(self, *, subtask_done: bool = False) -> None:
        """End the open segment: by the low level where the subtask is done, else by the environment or the limit."""
        assert self._open is not None, "a segment is open"
        ended_by: EndedBy = "unreadable"
        if self._steps:
            ended_by = "policy" if subtask_done else "limit" if self._steps[-1].truncated else "episode"
        self._finished.append(self._closed(self._open, ended_by))
        self._open = None

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Everything recorded so far; a segment still open counts as cut by the limit."""
        running = [self._closed(self._open, "limit")] if self._open is not None else []
        return (*self._finished, *running)

    def _closed(self, segment: Segment, ended_by: EndedBy) -> Segment:
        return replace(segment, steps=tuple(self._steps), ended_by=ended_by)


class Agent(Protocol):
    """Decides; knows neither the environment nor the engine."""

    @property
    def name(self) -> str:
        """The agent's name in results."""
        ...

    def play(self, task: Task, observation: Observation, log: EpisodeLog) -> Play:
        """Play one episode from its first observation until an outcome is over, and record it in the log."""
        ...

    def transitions(self, episode: Episode, verifier: SubtaskVerifier) -> list[Transition]:
        """Cut an episode, whoever played it, into what this agent would have read and said: its training data."""
        ...


def parse_or_none(parse: Callable[[str], Parsed], reply: Utterance) -> Parsed | None:
    """A parsed reply, or None where it cannot be parsed."""
    try:
        return parse(reply.text)
    except UnreadableReply:
        return None


def new_step(
    observation: Observation,
    reply: Utterance,
    decision: Decision | None,
    outcome: Outcome,
    *,
    progress: str = NOTHING,
    dropped: int | None = None,
) -> Step:
    """The record of one action, before any progress update.

    Args:
        observation: What the low level read (o_t).
        reply: The low level's reply, and the decision parsed from it (None: unreadable).
        decision: See ``reply``.
        outcome: The environment's answer.
        progress: The local progress that the low level read (p_t).
        dropped: See :class:`~step_hrl.types.Step`.
    """
    return Step(
        observation=observation,
        local_progress=progress,
        action=decision.action if decision else "",
        subtask_done=decision.subtask_done if decision else False,
        reward=outcome.reward,
        next_observation=outcome.observation,
        next_local_progress=None,
        is_valid_action=outcome.is_valid_action,
        terminated=outcome.terminated,
        truncated=outcome.truncated,
        unreadable=None if decision else reply.text,
        is_noise=reply.is_noise,
        dropped=dropped,
        usages={Role.LOW: reply.usage} if reply.usage.total else {},
    )


def with_progress(step: Step, reply: Utterance) -> Step:
    """A step with its progress update; an unreadable one keeps the previous progress."""
    progress = parse_or_none(local_progress.parse, reply)
    return replace(
        step,
        next_local_progress=step.local_progress if progress is None else progress,
        progress_unreadable=reply.text if progress is None else None,
        usages={**step.usages, Role.PROGRESS: reply.usage} if reply.usage.total else step.usages,
    )
