"""Mistakes an expert is made to commit, so that demonstrations show the way back from them.

A policy that imitates flawless demonstrations has never seen what follows its own first slip (Ross et al. 2011; noise
put into the demonstrator: Laskey et al. 2017). These slips are the ones a trained policy was seen to make: a wrong
door, a door that is open already, a thing that is not there. None ends an episode by itself.
"""

from __future__ import annotations

import random

from step_hrl.experts.scienceworld import screen
from step_hrl.types import Observation

ABSENT = (
    "wolf",
    "lemon tree",
    "adult elephant",
    "violet box",
    "tin can",
    "rubber duck",
    "lamp",
    "peach seed",
    "spoon",
)
"""Things to name where they are not; some of them occur elsewhere in the world."""

_VERBS = ("pick up", "focus on", "open", "examine", "activate")


def slip(subtask_kind: str, action: str, observation: Observation, generator: random.Random) -> str:
    """An action to take instead of ``action``: one that leads astray or nowhere, but not to the end of the episode."""
    scene = screen.read(observation)
    options = [_misnamed(action, scene, generator)]
    if subtask_kind == "go" and scene.doors:
        room, is_open = generator.choice(sorted(scene.doors.items()))
        options.append(f"open door to {room}")
        options += [f"go to {room}"] * (2 if is_open else 1)
    return generator.choice(options)


def _misnamed(action: str, scene: screen.Scene, generator: random.Random) -> str:
    """The action's verb, or another, with a thing that is not there: the world will not understand it."""
    absent = [name for name in ABSENT if scene.find(name) is None]
    verb = next((verb for verb in _VERBS if action.startswith(f"{verb} ")), None) or generator.choice(_VERBS)
    return f"{verb} {generator.choice(absent)}"
