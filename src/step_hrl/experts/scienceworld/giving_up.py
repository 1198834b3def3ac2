"""Impossible subtasks, which name a thing that is not there: when to give up, and how to generate them as noise.

The high level of a policy sometimes names a thing that is not in the room. A low level that cannot end such a subtask
tries until the episode is truncated.
"""

from __future__ import annotations

import random

from step_hrl.experts.scienceworld import knowledge, screen, subtasks
from step_hrl.experts.scienceworld.facts import Facts
from step_hrl.experts.scienceworld.mistakes import ABSENT
from step_hrl.experts.scienceworld.screen import Scene
from step_hrl.experts.scienceworld.skills import NOTHING_LEFT, search
from step_hrl.experts.scienceworld.subtasks import Subtask
from step_hrl.types import Observation

LOOK = NOTHING_LEFT.action
"""The action for giving up, which is valid and has no effect."""

_NAMED = {"focus": ("thing",), "find": ("thing",), "take": ("thing",), "get": ("thing",), "put": ("thing", "place")}
"""The kinds of subtasks that can be given up, with the words that name required things."""
_SEARCHED = ("find", "get")
_DONE = ("focused", "moved")
_COLORS = ("red", "green", "blue", "orange", "yellow", "purple", "black", "white")
_AGES = ("baby ", "adult ", "")
_THINGS = (
    *ABSENT,
    *(f"{color} box" for color in _COLORS),
    *(f"{age}{animal}" for age in _AGES for animal in knowledge.LIFESPAN_YEARS),
)


def missing(subtask: Subtask, facts: Facts, scene: Scene) -> str | None:
    """A thing that the subtask names but that is absent, with nothing left to open; None if there is none."""
    if any(done in facts for done in _DONE) or (subtask.kind in _SEARCHED and search(scene) is not None):
        return None
    names = (subtask.words[word] for word in _NAMED.get(subtask.kind, ()))
    return next((name for name in names if " in " not in name and _is_absent(name, scene)), None)


def wrong_subtask(text: str, observation: Observation, generator: random.Random) -> str | None:
    """The same subtask with an absent thing; None for a kind that cannot be given up."""
    kind, words = subtasks.read(text)
    if kind not in _NAMED:
        return None
    scene = screen.read(observation)
    word = generator.choice(_NAMED[kind])
    absent = [name for name in _THINGS if _is_absent(name, scene)]
    return subtasks.say(kind, **{**words, word: generator.choice(absent)})


def _is_absent(name: str, scene: Scene) -> bool:
    return scene.find(name) is None
