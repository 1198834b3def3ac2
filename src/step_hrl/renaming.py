"""Transitions told again with other names, so that a model must copy names instead of knowing them by heart. Pure.

The low level and the progress say what stands in their prompts: which name it is does not matter to them. The high
level chooses between names by what they mean, so its transitions are left alone.
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

_WORD = re.compile(r"\b[a-z]{3,}\b")
_SURROUNDINGS = re.compile(r"^(?:Look|Inventory): (.*)$", re.MULTILINE)


def names(transitions: Sequence[Transition]) -> list[str]:
    """The words that name things: those seen in the surroundings of some prompts, but not of most. Sorted."""
    seen = Counter(word for t in transitions for word in set(_WORD.findall(" ".join(_SURROUNDINGS.findall(t.state)))))
    return sorted(word for word, count in seen.items() if count < COMMON * len(transitions))


def renamed(transitions: Sequence[Transition], share: float, seed: int) -> list[Transition]:
    """A random ``share`` of the low level's and the progress' transitions once more, each with names of its own.

    Within a transition a name is replaced everywhere. Only names that the utterance copies from its prompt are
    replaced; transitions that copy none are left out.
    """
    known = names(transitions)
    generator = random.Random(seed)
    told: list[Transition] = []
    for transition in transitions:
        if transition.role is Role.HIGH or generator.random() >= share:
            continue
        copied = set(_WORD.findall(transition.utterance)) & set(_WORD.findall(transition.state)) & set(known)
        if copied:
            others = generator.sample(known, len(copied))
            told.append(_with_names(transition, dict(zip(sorted(copied), others, strict=True))))
    return told


def _with_names(transition: Transition, other: Mapping[str, str]) -> Transition:
    def retell(text: str) -> str:
        return _WORD.sub(lambda word: other.get(word[0], word[0]), text)

    following = None if transition.next_state is None else retell(transition.next_state)
    return replace(
        transition, state=retell(transition.state), utterance=retell(transition.utterance), next_state=following
    )
