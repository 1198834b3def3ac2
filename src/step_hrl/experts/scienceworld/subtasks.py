"""The expert's subtasks: one sentence per kind, formatted and parsed with the same pattern."""

from __future__ import annotations

import re
from typing import NamedTuple

OTHER = "other"
"""The kind of a subtask that matches none of the sentences."""

SENTENCES: dict[str, str] = {
    "go": "go to the {room}",
    "find": "find the {thing} and focus on it",
    "take": "focus on the {thing} and pick it up",
    "await": "wait for the {thing} and focus on it",
    "take_plant": "focus on the {thing} in {pot} and pick up the pot",
    "focus": "focus on the {thing}",
    "get": "find the {thing} and pick it up",
    "put": "put the {thing} in the {place}",
    "measure": "measure the temperature of the {thing}",
    "fill": "fill the {thing} with water",
    "heat": "heat the {thing} in the oven until it {change}",
    "cool": "cool the {thing} in the freezer until it {change}",
    "collect": "collect the {things}",
    "drop": "put down the {thing}",
    "power": "power the {thing} with the {source}",
    "conduct": "test whether the {thing} conducts electricity",
    "read": "read the {thing}",
    "mix": "mix the {things} in the {vessel}",
    "dig": "dig up the {thing}",
    "plant": "plant the {thing} in {pot}",
    "bees": "close the doors and open the bee hive",
    "turn_on": "turn on the {device}",
    "grow": "wait for the {thing} to grow",
    "melt": "melt the {thing} in the oven and measure its temperature",
}
"""The sentence of each kind; the words in braces are filled from the observation or the task."""


class Subtask(NamedTuple):
    """A parsed subtask: its kind and the words in its sentence."""

    kind: str
    words: dict[str, str]


def say(kind: str, **words: str) -> str:
    """Format the sentence of a kind.

    >>> say("put", thing="chair", place="red box")
    'put the chair in the red box'
    """
    return SENTENCES[kind].format(**words)


def read(text: str) -> Subtask:
    """Parse a sentence into kind and words; the kind is ``other`` where no sentence matches.

    >>> read("focus on the dove egg and pick it up")
    Subtask(kind='take', words={'thing': 'dove egg'})
    """
    for kind, pattern in _PATTERNS.items():
        if match := pattern.fullmatch(text):
            return Subtask(kind, match.groupdict())
    return Subtask(OTHER, {})


def _pattern(sentence: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>.+?)", re.escape(sentence)))


_PATTERNS = {kind: _pattern(sentence) for kind, sentence in SENTENCES.items()}
