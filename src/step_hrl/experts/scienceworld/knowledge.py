"""What the expert knows of the world beyond its screen: kinds of things, and how long animals live."""

from __future__ import annotations

import re

from step_hrl.experts.scienceworld.screen import Thing

LIFESPAN_YEARS: dict[str, float] = {
    "giant tortoise": 150,
    "parrot": 80,
    "elephant": 70,
    "crocodile": 65,
    "turtle": 40,
    "brown bear": 25,
    "wolf": 14,
    "beaver": 12,
    "frog": 10,
    "toad": 10,
    "rabbit": 9,
    "chipmunk": 8,
    "blue jay": 7,
    "dove": 6,
    "hedgehog": 5,
    "mouse": 2,
    "chameleon": 1,
    "ant": 0.6,
    "dragonfly": 0.5,
    "butterfly": 0.1,
    "moth": 0.1,
    "bee": 0.1,
}
"""How long the house's animals live; what counts is the order."""

FIXED = {"bathtub", "sink", "toilet", "fire pit", "fountain", "ground"}
"""What stands in the rooms and cannot be moved."""

_AGES = {"baby", "egg", "hatchling", "juvenile", "adult", "caterpillar", "pupa", "tadpole"}
_ONE_OF_A_KIND = {"caterpillar": "butterfly", "tadpole": "frog"}


def animal(name: str) -> str | None:
    """The animal a name on the screen stands for, whatever its age; None where it is none, or dead.

    >>> animal("baby brown bear"), animal("dove egg"), animal("axe")
    ('brown bear', 'dove', None)
    """
    words = name.split()
    if name in _ONE_OF_A_KIND:
        return _ONE_OF_A_KIND[name]
    bare = " ".join(word for word in words if word not in _AGES)
    return bare if bare in LIFESPAN_YEARS and "dead" not in words else None


def is_plant(thing: Thing) -> bool:
    """Whether a thing is a growing plant (a seed is not yet one)."""
    return thing.stage not in ("", "dead", "seed") and re.search(r"(tree|plant)$", thing.name) is not None
