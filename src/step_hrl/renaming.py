"""Transitions told again with other names, so that a model must copy names instead of knowing them by heart. Pure.

The low level and the progress say what stands in their prompts: which name it is does not matter to them, and they are
given names of other things. The high level chooses between names by what they mean: a table in the place of a dog would
teach it that tables are alive, so it is given names that mean nothing.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from step_hrl.types import Role, Transition

COMMON = 0.4
"""A word that stands in the surroundings of a larger share of prompts is a state or a passage, not a name."""

_CONSONANTS, _VOWELS = "bdfgklmnprstvz", "aeiou"
_WORD = re.compile(r"\b[a-z]{3,}\b")
_SURROUNDINGS = re.compile(r"^(?:Look|Inventory): (.*)$", re.MULTILINE)


def names(transitions: Sequence[Transition]) -> list[str]:
    """The words that name things: those seen in the surroundings of some prompts, but not of most. Sorted."""
    seen = Counter(word for t in transitions for word in set(_WORD.findall(" ".join(_SURROUNDINGS.findall(t.state)))))
    return sorted(word for word, count in seen.items() if count < COMMON * len(transitions))


def renamed(transitions: Sequence[Transition], share: float, seed: int) -> list[Transition]:
    """A random ``share`` of the transitions once more, each with names of its own.

    Within a transition a name is replaced everywhere. Only names that the utterance copies from its prompt are
    replaced; transitions that copy none are left out.
    """
    known = names(transitions)
    generator = random.Random(seed)
    told: list[Transition] = []
    for transition in transitions:
        if generator.random() >= share:
            continue
        copied = set(_WORD.findall(transition.utterance)) & set(_WORD.findall(transition.state)) & set(known)
        if copied:
            invented = transition.role is Role.HIGH
            others = [_invented(generator) for _ in copied] if invented else generator.sample(known, len(copied))
            told.append(_with_names(transition, dict(zip(sorted(copied), others, strict=True))))
    return told


def _invented(generator: random.Random) -> str:
    """A word of two or three syllables, such as ``bado`` or ``kitemu``."""
    syllables = range(generator.choice((2, 3)))
    return "".join(generator.choice(_CONSONANTS) + generator.choice(_VOWELS) for _ in syllables)


def _with_names(transition: Transition, other: Mapping[str, str]) -> Transition:
    def retell(text: str) -> str:
        return _WORD.sub(lambda word: other.get(word[0], word[0]), text)

    following = None if transition.next_state is None else retell(transition.next_state)
    return replace(
        transition, state=retell(transition.state), utterance=retell(transition.utterance), next_state=following
    )
