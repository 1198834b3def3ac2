"""Segment an action sequence into subtasks, for solutions that do not come from the expert's plans."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from step_hrl.experts.scienceworld.subtasks import OTHER


class Cut(NamedTuple):
    """A subtask of a path: its kind, its text, and the actions ``start`` to ``end`` (exclusive)."""

    kind: str
    subtask: str
    start: int
    end: int


_ASIDE = re.compile(r"\d+|look around|inventory")
"""Actions that continue any subtask: answers to "which one?" and looks, which add nothing to the observation."""
_SENTENCES: tuple[tuple[str, re.Pattern[str], str], ...] = (
    ("go", re.compile(r"(?:open door to|go to|go) (?P<thing>.+)"), "go to the {thing}"),
    ("focus", re.compile(r"focus on (?P<thing>.+)"), "focus on the {thing}"),
    ("get", re.compile(r"(?:pick up|take) (?P<thing>.+)"), "find the {thing} and pick it up"),
    ("put", re.compile(r"(?:move|pour) (?P<thing>.+?) (?:into|in|to) (?P<place>.+)"), "put the {thing} in the {place}"),
    ("measure", re.compile(r"use thermometer.* on (?P<thing>.+)"), "measure the temperature of the {thing}"),
    ("use", re.compile(r"use (?P<thing>.+?) on (?P<place>.+)"), "use the {thing} on the {place}"),
    ("open", re.compile(r"(?P<verb>open|close) (?P<thing>.+)"), "{verb} the {thing}"),
    ("switch", re.compile(r"(?P<verb>activate|deactivate) (?P<thing>.+)"), "{verb} the {thing}"),
    ("connect", re.compile(r"(?:connect|disconnect) (?P<thing>.+)"), "connect the circuit"),
    ("wait", re.compile(r"wait\d*(?P<thing>)"), "wait"),
    ("mix", re.compile(r"mix (?P<thing>.+)"), "mix the contents of the {thing}"),
    ("read", re.compile(r"read (?P<thing>.+)"), "read the {thing}"),
    ("examine", re.compile(r"(?:examine|look in|look at) (?P<thing>.+)"), "examine the {thing}"),
    ("drop", re.compile(r"(?:drop|put down) (?P<thing>.+)"), "put down the {thing}"),
)


def cut(actions: Sequence[str]) -> list[Cut]:
    """Segment a path: consecutive moves through doors, or equal actions on one thing, form a subtask."""
    cuts: list[Cut] = []
    for index, action in enumerate(actions):
        kind, subtask = _name(action)
        last = cuts[-1] if cuts else None
        if last is not None and _ASIDE.fullmatch(action):
            cuts[-1] = last._replace(end=index + 1)
        elif last is not None and (kind == last.kind == "go" or subtask == last.subtask):
            cuts[-1] = last._replace(subtask=subtask, end=index + 1)
        else:
            cuts.append(Cut(kind, subtask, index, index + 1))
    return cuts


def _name(action: str) -> tuple[str, str]:
    for kind, pattern, sentence in _SENTENCES:
        if match := pattern.fullmatch(action):
            return kind, sentence.format(**match.groupdict())
    return OTHER, action
