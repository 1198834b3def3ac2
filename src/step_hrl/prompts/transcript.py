"""The prompt of baselines without local progress: a transcript of past actions and answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from step_hrl.prompts import text
from step_hrl.types import NOTHING, Observation, Step


class Event(NamedTuple):
    """An action and the environment's answer to it."""

    action: str
    answer: str


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of the transcript in a prompt: the latest ``steps`` (None: all of them) that fit into ``characters``."""

    characters: int
    steps: int | None = None


@dataclass(frozen=True, slots=True)
class State:
    """A goal, the events so far (oldest first) and the current observation.

    ``label`` is the goal's label in the prompt; ``bounds`` limit the transcript.
    """

    label: Literal["Task", "Subtask"]
    goal: str
    events: tuple[Event, ...]
    observation: Observation
    bounds: Bounds

    @property
    def prompt(self) -> str:
        """See :func:`render`."""
        return render(self)

    @property
    def dropped(self) -> int:
        """Number of oldest events omitted from the prompt."""
        return dropped(self.events, self.bounds)

    def after(self, step: Step) -> State:
        """The state that follows a step."""
        event = Event(step.action, step.next_observation.full_text)
        return State(self.label, self.goal, (*self.events, event), step.next_observation, self.bounds)


def render(state: State) -> str:
    """The prompt, the same for acting and training.

    The answer to the last action is the end of the transcript and is not repeated as an observation.
    """
    sections = text.observation_sections(state.observation)
    return text.prompt(
        [
            (state.label, text.one_line(state.goal)),
            ("History", _history(state.events, state.bounds)),
            *(section for section in sections if section[0] != "Observation" or not state.events),
        ],
        "Next action",
    )


def dropped(events: Sequence[Event], bounds: Bounds) -> int:
    """Number of oldest events that do not fit into the bounds.

    >>> dropped([Event("a", "b")] * 5, Bounds(characters=1000, steps=3))
    2
    """
    first = max(0, len(events) - bounds.steps) if bounds.steps is not None else 0
    available = bounds.characters
    for number in range(len(events) - 1, first - 1, -1):
        available -= len(_line(events[number])) + len("; ")
        if available < 0:
            return number + 1
    return first


def utterance(action: str) -> str:
    """The utterance of a policy that has no subtask to complete."""
    return action


def parse(reply: str) -> str:
    """The action in a reply. Raises :class:`~step_hrl.errors.UnreadableReply`."""
    return text.first_line(reply, text.ACTION_CHARACTERS)


def _history(events: Sequence[Event], bounds: Bounds) -> str:
    omitted = dropped(events, bounds)
    latest = "; ".join(map(_line, events[omitted:]))
    return f"({omitted} earlier); {latest}".rstrip("; ") if omitted else latest or NOTHING


def _line(event: Event) -> str:
    return f"{event.action or '(unreadable)'} > {text.clip(event.answer, text.TEXT_CHARACTERS)}"
