"""Facts about ScienceWorld that observations do not contain: kinds of things, life spans, melting points."""

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
"""Life spans of the animals; only their order matters."""

FIXED = {"bathtub", "sink", "toilet", "fire pit", "fountain", "ground"}
"""Things that cannot be moved."""

_AGES = {"baby", "egg", "hatchling", "juvenile", "adult", "caterpillar", "pupa", "tadpole"}
_ONE_OF_A_KIND = {"caterpillar": "butterfly", "tadpole": "frog"}


def animal(name: str) -> str | None:
    """The species of the animal with this name, at any age; None for other things and dead animals.

    >>> animal("baby brown bear"), animal("dove egg"), animal("axe")
    ('brown bear', 'dove', None)
    """
    words = name.split()
    if name in _ONE_OF_A_KIND:
        return _ONE_OF_A_KIND[name]
    species = " ".join(word for word in words if word not in _AGES)
    return species if species in LIFESPAN_YEARS and "dead" not in words else None


def is_plant(thing: Thing) -> bool:
    """Whether a thing is a living plant (a seed is not)."""
    return thing.stage not in ("", "dead", "seed") and re.search(r"(tree|plant)$", thing.name) is not None


MELTING_POINT_CELSIUS: dict[str, float] = {
    "mercury": -39,
    "orange juice": -2,
    "apple juice": -2,
    "water": 0,
    "ice": 0,
    "gallium": 30,
    "chocolate": 35,
    "tin": 232,
    "lead": 327,
}
"""Melting points of the known substances."""

FUELED = {"gas generator", "nuclear generator"}
"""Nonrenewable power sources, which have to be activated."""
RENEWABLE = {"solar panel", "wind generator"}
"""Renewable power sources, which work outside without activation."""

_LIQUIDS = re.compile(r"(juice|water|mercury|milk|oil|paint)$")
_WATER = {"ice": "solid", "water": "liquid", "steam": "gas"}
_PREFIXES = {"solid": "solid", "liquid": "liquid", "gaseous": "gas"}


def phase(name: str) -> str:
    """The phase of a substance with this name: ``solid``, ``liquid`` or ``gas``.

    >>> phase("ice"), phase("orange juice"), phase("liquid chocolate")
    ('solid', 'liquid', 'liquid')
    """
    if name in _WATER:
        return _WATER[name]
    prefix = name.split(" ")[0]
    return _PREFIXES.get(prefix) or ("liquid" if _LIQUIDS.search(name) else "solid")


def is_substance(name: str, substance: str) -> bool:
    """Whether a thing with this name is the substance, in any phase.

    >>> is_substance("ice", "water"), is_substance("solid apple juice", "apple juice")
    (True, True)
    """
    if substance in _WATER:
        return name in _WATER
    prefix, _, bare = name.partition(" ")
    return substance in (name, bare if prefix in _PREFIXES else name)


def is_vessel(name: str) -> bool:
    """Whether a thing with this name is a portable vessel."""
    return re.search(r"(cup|jug|pot|jar|bowl|beaker)$", name) is not None


def is_load(name: str) -> bool:
    """Whether a thing with this name shows that a current flows through it."""
    return re.search(r"(light bulb|buzzer|motor)\b", name) is not None


def is_wire(name: str) -> bool:
    """Whether a thing with this name is a wire."""
    return name.endswith(" wire")
