"""What a policy reads that has no local progress: a transcript of what was done and what came of it. For baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from step_hrl.prompts import text
from step_hrl.types import NOTHING, Observation


class Event(NamedTuple):
    """An action and the world's answer to it."""

    action: str
    answer: str


@dataclass(frozen=True, slots=True)
class State:
    """A task or a subtask, everything done for it so far, oldest first, and what is seen now."""

    goal: str
    events: tuple[Event, ...]
    observation: Observation


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much of a transcript a prompt shows: its latest ``steps`` (None: all) that fit into ``characters``."""

    characters: int
    steps: int | None = None


def render(state: State, label: str, bounds: Bounds) -> str:
    """The prompt of a policy whose goal stands under this label (``Task`` or ``Subtask``).

    What the last action led to stands at the end of the history and is not said again.
    """
    seen = text.observation_sections(state.observation)
    return text.prompt(
        "Take the next action.",
        [
            (label, text.one_line(state.goal)),
            ("History", _history(state.events, bounds)),
            *(section for section in seen if section[0] != "Observation" or not state.events),
        ],
        "Action",
    )


def dropped(events: Sequence[Event], bounds: Bounds) -> int:
    """How many of the oldest events a prompt leaves out.

    >>> dropped([Event("a", "b")] * 5, Bounds(characters=1000, steps=3))
    2
    """
    first = max(0, len(events) - bounds.steps) if bounds.steps is not None else 0
    room = bounds.characters
    for number in range(len(events) - 1, first - 1, -1):
        room -= len(_line(events[number])) + len("; ")
        if room < 0:
            return number + 1
    return first


def utterance(action: str) -> str:
    """What a policy says that has no subtask to complete."""
    return action


def parse(reply: str) -> str:
    """The action in such a reply. Raises :class:`~step_hrl.errors.UnreadableReply`."""
    return text.first_line(reply, text.ACTION_CHARACTERS)


def _history(events: Sequence[Event], bounds: Bounds) -> str:
    left_out = dropped(events, bounds)
    shown = "; ".join(map(_line, events[left_out:]))
    return f"({left_out} earlier); {shown}".rstrip("; ") if left_out else shown or NOTHING


def _line(event: Event) -> str:
    return f"{event.action or '(unreadable)'} > {text.clip(event.answer, text.TEXT_CHARACTERS)}"
