"""Words that mean nothing: who is to say them must read them."""

from __future__ import annotations

import random

_CONSONANTS, _VOWELS = "bdfgklmnprstvz", "aeiou"


def word(generator: random.Random) -> str:
    """A word of two or three syllables, such as ``bado`` or ``kitemu``."""
    syllables = range(generator.choice((2, 3)))
    return "".join(generator.choice(_CONSONANTS) + generator.choice(_VOWELS) for _ in syllables)
