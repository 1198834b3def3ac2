"""Mistakes to inject into demonstrations, so that they contain recoveries (see ``experts.engine.NoisyEngine``).

They are mistakes that trained policies make: a wrong door, a door that is already open, a thing that is not there. None
ends an episode.
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
"""Things to name where they are absent; some occur elsewhere in ScienceWorld."""

_VERBS = ("pick up", "focus on", "open", "examine", "activate")


def slip(subtask_kind: str, action: str, observation: Observation, generator: random.Random) -> str:
    """An unhelpful action in place of ``action``, which does not end the episode."""
    scene = screen.read(observation)
    options = [_misnamed(action, scene, generator)]
    if subtask_kind == "go" and scene.doors:
        room, is_open = generator.choice(sorted(scene.doors.items()))
        options.append(f"open door to {room}")
        options += [f"go to {room}"] * (2 if is_open else 1)
    return generator.choice(options)


def _misnamed(action: str, scene: screen.Scene, generator: random.Random) -> str:
    """The action's verb, or a random one, with an absent thing, which makes it invalid."""
    absent = [name for name in ABSENT if scene.find(name) is None]
    verb = next((verb for verb in _VERBS if action.startswith(f"{verb} ")), None) or generator.choice(_VERBS)
    return f"{verb} {generator.choice(absent)}"
