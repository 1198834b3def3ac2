"""Transitions told again with other names, so that a model must copy names instead of knowing them by heart. Pure.

The low level and the progress say what stands in their prompts: which name it is does not matter to them, and they are
given names of other things, or names that mean nothing. The high level chooses between names by what they mean: a table
in the place of a dog would teach it that tables are alive. It is given names that served the same task in the same way,
or names that mean nothing. Numbers that tell alike things apart are names too, and become other numbers.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from step_hrl.config import EntityPermutationConfig
from step_hrl.types import Role, Transition

COMMON = 0.4
"""A word that stands in a larger share of the prompts is a state or an article, not a name."""

MOST_ALIKE = 20
"""What numbers of alike things are drawn below."""

INVENTED = 0.3
"""How often names that mean nothing are given."""

_CONSONANTS, _VOWELS = "bdfgklmnprstvz", "aeiou"
_ALIKE = r"(?<=[a-z] )(?<!terminal )"
"""What stands before a number that tells alike things apart."""
_NAME = re.compile(rf"\b(?:[a-z]{{3,}}|{_ALIKE}\d{{1,2}})\b")
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


def permute_entities(transitions: Sequence[Transition], times: EntityPermutationConfig, seed: int) -> list[Transition]:
    """Each transition as many times more as its role says (2.5: two or three), every time with names of its own.

    Within a transition a name is replaced everywhere. Only names that the utterance copies from its prompt are
    replaced; transitions that copy none are left out.
    """
    known = set(names(transitions))
    words = sorted(word for word in known if not word.isdigit())
    siblings = _siblings(transitions, known)
    generator = random.Random(seed)
    told: list[Transition] = []
    for transition in transitions:
        wanted = getattr(times, transition.role.value)
        for _ in range(int(wanted + generator.random())):  # that many on average
            if transition.role is Role.HIGH:
                other = _other_choices(transition, known, siblings, generator)
            else:
                other = _other_words(transition, known, words, generator)
            if other:
                told.append(_with_names(transition, other))
    return told


_Siblings = dict[tuple[str, str, int], list[str]]
"""By task, what was said but for its names, and which of them: the names that were said."""


def _phrases(transition: Transition, known: Collection[str]) -> list[str]:
    """The names in what was said, of one or several words, as they stand in the prompt: ``blue jay egg``."""
    phrases: list[str] = []
    run: list[str] = []
    for word in [*transition.utterance.split(" "), ""]:
        if word in known:
            run.append(word)
        elif run:
            phrases.append(" ".join(run))
            run = []
    return [phrase for phrase in dict.fromkeys(phrases) if re.search(rf"\b{phrase}\b", transition.state)]


def _pattern(transition: Transition, phrases: Sequence[str]) -> str:
    """What was said, but for its names."""
    return _replaced(transition.utterance, dict.fromkeys(phrases, "{}"))


def _siblings(transitions: Sequence[Transition], known: Collection[str]) -> _Siblings:
    found: dict[tuple[str, str, int], set[str]] = {}
    for transition in transitions:
        if transition.role is Role.HIGH:
            phrases = _phrases(transition, known)
            pattern = _pattern(transition, phrases)
            for place, phrase in enumerate(phrases):
                found.setdefault((transition.task, pattern, place), set()).add(phrase)
    return {key: sorted(phrases) for key, phrases in found.items()}


def _other_choices(
    transition: Transition, known: Collection[str], siblings: _Siblings, generator: random.Random
) -> dict[str, str]:
    """Names that were said of the same task in the same place, or names that mean nothing."""
    phrases = _phrases(transition, known)
    pattern = _pattern(transition, phrases)
    meaningless = generator.random() < INVENTED
    other: dict[str, str] = {}
    for place, phrase in enumerate(phrases):
        chosen = generator.choice(siblings[transition.task, pattern, place])
        if meaningless:
            chosen = " ".join(word if word.isdigit() else _invented(generator) for word in phrase.split(" "))
        if chosen not in (*other, *other.values(), *phrases):
            # What is there under that name already takes the other's.
            other |= {phrase: chosen, chosen: phrase}
    return other


def _other_words(
    transition: Transition, known: Collection[str], words: Sequence[str], generator: random.Random
) -> dict[str, str]:
    """Any names for the words that were copied."""
    # Of an action that came to nothing the progress repeats every word, whether it names anything or not.
    repeated = _NAME.findall(" ".join(_ACTION.findall(transition.state)))
    said = set(_NAME.findall(transition.utterance)) & set(_NAME.findall(transition.state))
    copied = sorted(said & {*known, *repeated})
    numbers = [str(number) for number in range(1, MOST_ALIKE) if not re.search(rf"\b{number}\b", transition.state)]
    # Where small ones run out, large ones do.
    numbers += [str(number) for number in range(1000, 1000 + len(copied) - len(numbers))]
    digits = generator.sample(numbers, len(copied))
    # A name that stands there already would make what is missing be there.
    written = set(_NAME.findall(transition.state))
    free = [word for word in words if word not in written]
    if generator.random() < INVENTED or len(free) < len(copied):
        others = [_invented(generator) for _ in copied]
    else:
        others = generator.sample(free, len(copied))
    return {name: number if name.isdigit() else word for name, number, word in zip(copied, digits, others, strict=True)}


def _invented(generator: random.Random) -> str:
    """A word of two or three syllables, such as ``bado`` or ``kitemu``."""
    syllables = range(generator.choice((2, 3)))
    return "".join(generator.choice(_CONSONANTS) + generator.choice(_VOWELS) for _ in syllables)


def _with_names(transition: Transition, other: Mapping[str, str]) -> Transition:
    following = None if transition.next_state is None else _replaced(transition.next_state, other)
    return replace(
        transition,
        state=_replaced(transition.state, other),
        utterance=_replaced(transition.utterance, other),
        next_state=following,
    )


def _replaced(text: str, other: Mapping[str, str]) -> str:
    """Replace names, all at once: each may become another's old name.

    >>> _replaced("pot 5 [red ant], ant, 5C", {"red ant": "bee", "ant": "red ant", "5": "7"})
    'pot 7 [bee], red ant, 5C'
    """
    if not other:
        return text
    longest_first = sorted(other, key=len, reverse=True)
    name = "|".join(rf"{_ALIKE}{key}" if key.isdigit() else key for key in longest_first)
    return re.sub(rf"\b(?:{name})\b", lambda found: other[found[0]], text)
