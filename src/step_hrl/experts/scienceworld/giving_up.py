"""Subtasks that cannot be done, for what they name is not there: when to give up, and a high level that errs so.

A policy's high level sometimes names what is not in the room. Where the low level cannot end such a subtask, and say
why, it tries until the episode is over.
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
"""What is done when giving up: something the world understands, that changes nothing."""

_NAMED = {"focus": ("thing",), "find": ("thing",), "take": ("thing",), "get": ("thing",), "put": ("thing", "place")}
"""The kinds of subtasks that are given up, with which of their words name what must be there."""
_SEARCHED = ("find", "get")
_DONE = ("focused", "moved")
_COLOURS = ("red", "green", "blue", "orange", "yellow", "purple", "black", "white")
_AGES = ("baby ", "adult ", "")
_THINGS = (
    *ABSENT,
    *(f"{colour} box" for colour in _COLOURS),
    *(f"{age}{animal}" for age in _AGES for animal in knowledge.LIFESPAN_YEARS),
)


def missing(subtask: Subtask, facts: Facts, scene: Scene) -> str | None:
    """What a subtask names that is not in sight, with nothing left to open; None where nothing speaks for giving up."""
    if any(done in facts for done in _DONE) or (subtask.kind in _SEARCHED and search(scene) is not None):
        return None
    names = (subtask.words[word] for word in _NAMED.get(subtask.kind, ()))
    return next((name for name in names if " in " not in name and _nowhere(name, scene)), None)


def wrong_subtask(text: str, observation: Observation, generator: random.Random) -> str | None:
    """The same subtask of something that is not there; None for a kind that is never given up."""
    kind, words = subtasks.read(text)
    if kind not in _NAMED:
        return None
    scene = screen.read(observation)
    word = generator.choice(_NAMED[kind])
    absent = [name for name in _THINGS if _nowhere(name, scene)]
    return subtasks.say(kind, **{**words, word: generator.choice(absent)})


def _nowhere(name: str, scene: Scene) -> bool:
    return scene.find(name) is None
