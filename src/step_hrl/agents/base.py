"""What an agent is: a generator that yields what it wants said or done, and is sent what came of it."""

from __future__ import annotations

from collections.abc import Generator
from typing import Protocol

from step_hrl.types import Act, Ask, EndedBy, Episode, Observation, Outcome, Segment, Step, Task, Utterance

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


def said(answer: Utterance | Outcome) -> Utterance:
    """The answer to an Ask, typed. Raises TypeError where the driver mixed them up."""
    if not isinstance(answer, Utterance):
        raise TypeError(f"an Ask was answered by {type(answer).__name__}")
    return answer


def happened(answer: Utterance | Outcome) -> Outcome:
    """The answer to an Act, typed. Raises TypeError where the driver mixed them up."""
    if not isinstance(answer, Outcome):
        raise TypeError(f"an Act was answered by {type(answer).__name__}")
    return answer
