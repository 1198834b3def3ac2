"""Transitions told again with other names, so that a model must copy names instead of knowing them by heart. Pure.

The low level and the progress say what stands in their prompts: which name it is does not matter to them, and they are
given names of other things, or names that mean nothing. The high level chooses between names by what they mean: a table
in the place of a dog would teach it that tables are alive, so it is only given names that mean nothing. Numbers that
tell alike things apart are names too, and become other numbers.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from step_hrl.config import Retellings
from step_hrl.types import Role, Transition

COMMON = 0.4
"""A word that stands in a larger share of the prompts is a state or an article, not a name."""

MOST_ALIKE = 20
"""What numbers of alike things are drawn below."""

INVENTED = 0.3
"""How often the low level and the progress are given names that mean nothing."""

_CONSONANTS, _VOWELS = "bdfgklmnprstvz", "aeiou"
_NUMBER = r"(?<=[a-z] )(?<!terminal )\d{1,2}"
_NAME = re.compile(rf"\b(?:[a-z]{{3,}}|{_NUMBER})\b")
_SURROUNDINGS = re.compile(r"^(?:Look|Inventory): (.*)$", re.MULTILINE)
_ACTION = re.compile(r"^Action: (.*)$", re.MULTILINE)
_PASSAGES = re.compile(r"\bDoors: (.*)$", re.MULTILINE)


def names(transitions: Sequence[Transition]) -> list[str]:
    """The words and numbers that name things: seen in the surroundings, but not in most prompts. Sorted.

    What doors lead to is left out: there are few rooms, and the way from one to another has to be known by heart.
    """
    written: Counter[str] = Counter()
    seen: set[str] = set()
    rooms: set[str] = set()
    for transition in transitions:
        written.update(set(_NAME.findall(transition.state)))
        seen.update(_NAME.findall(" ".join(_SURROUNDINGS.findall(transition.state))))
        rooms.update(_NAME.findall(" ".join(_PASSAGES.findall(transition.state))))
    return sorted(word for word in seen - rooms if written[word] < COMMON * len(transitions))


def renamed(transitions: Sequence[Transition], times: Retellings, seed: int) -> list[Transition]:
    """Each transition as many times more as its role says (2.5: two or three), every time with names of its own.

    Within a transition a name is replaced everywhere. Only names that the utterance copies from its prompt are
    replaced; transitions that copy none are left out.
    """
    known = set(names(transitions))
    words = sorted(word for word in known if not word.isdigit())
    generator = random.Random(seed)
    told: list[Transition] = []
    for transition in transitions:
        # Of an action that came to nothing the progress repeats every word, whether it names anything or not.
        repeated = _NAME.findall(" ".join(_ACTION.findall(transition.state)))
        said = set(_NAME.findall(transition.utterance)) & set(_NAME.findall(transition.state))
        copied = sorted(said & {*known, *repeated})
        for _ in range(_rounded(getattr(times, transition.role.value), generator) if copied else 0):
            told.append(_with_names(transition, _others(transition, copied, words, generator)))
    return told


def _rounded(number: float, generator: random.Random) -> int:
    """A whole number that is this one on average."""
    return int(number + generator.random())


def _others(
    transition: Transition, copied: Sequence[str], words: Sequence[str], generator: random.Random
) -> dict[str, str]:
    numbers = [str(number) for number in range(1, MOST_ALIKE) if not re.search(rf"\b{number}\b", transition.state)]
    digits = generator.sample(numbers, len(copied))
    if transition.role is Role.HIGH or generator.random() < INVENTED:
        others = [_invented(generator) for _ in copied]
    else:
        others = generator.sample(words, len(copied))
    return {name: number if name.isdigit() else word for name, number, word in zip(copied, digits, others, strict=True)}


def _invented(generator: random.Random) -> str:
    """A word of two or three syllables, such as ``bado`` or ``kitemu``."""
    syllables = range(generator.choice((2, 3)))
    return "".join(generator.choice(_CONSONANTS) + generator.choice(_VOWELS) for _ in syllables)


def _with_names(transition: Transition, other: Mapping[str, str]) -> Transition:
    def retell(text: str) -> str:
        return _NAME.sub(lambda name: other.get(name[0], name[0]), text)

    following = None if transition.next_state is None else retell(transition.next_state)
    return replace(
        transition, state=retell(transition.state), utterance=retell(transition.utterance), next_state=following
    )
