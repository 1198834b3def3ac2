"""Augment transitions with permuted entity names, so that a model learns to copy names instead of memorizing. Pure.

The low level and the local progress copy names from their prompts regardless of their meaning, so their names are
replaced by names of other things or by invented ones. The high level chooses between names by their meaning (a table
in place of a dog would teach it that tables are alive), so its names are replaced by names that were used in the same
place for the same task, or by invented ones. Numbers that distinguish things of one kind are replaced by other numbers.
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
"""A word that occurs in a larger share of the prompts is a state or an article, not a name."""

MAX_NUMBER = 20
"""Exclusive upper bound of the numbers that are drawn."""

INVENTED = 0.3
"""Probability of invented names."""

_CONSONANTS, _VOWELS = "bdfgklmnprstvz", "aeiou"
_BEFORE_NUMBER = r"(?<=[a-z] )(?<!terminal )"
"""Context of a number that distinguishes things of one kind."""
_NAME = re.compile(rf"\b(?:[a-z]{{3,}}|{_BEFORE_NUMBER}\d{{1,2}})\b")
_SURROUNDINGS = re.compile(r"^(?:Look|Inventory): (.*)$", re.MULTILINE)
_ACTION = re.compile(r"^Action: (.*)$", re.MULTILINE)
_DOORS = re.compile(r"\bDoors: (.*)$", re.MULTILINE)


def names(transitions: Sequence[Transition]) -> list[str]:
    """The words and numbers that name things, sorted: those in the surroundings that do not occur in most prompts.

    Names of rooms behind doors are excluded: there are few rooms, and a policy has to memorize the way between them.
    """
    counts: Counter[str] = Counter()
    seen: set[str] = set()
    rooms: set[str] = set()
    for transition in transitions:
        counts.update(set(_NAME.findall(transition.state)))
        seen.update(_NAME.findall(" ".join(_SURROUNDINGS.findall(transition.state))))
        rooms.update(_NAME.findall(" ".join(_DOORS.findall(transition.state))))
    return sorted(word for word in seen - rooms if counts[word] < COMMON * len(transitions))


def permute_entities(transitions: Sequence[Transition], times: EntityPermutationConfig, seed: int) -> list[Transition]:
    """Copies of each transition with permuted names: ``times`` per role, a fraction rounded up or down at random.

    Within a transition a name is replaced everywhere. Only names that the utterance copies from its prompt are
    replaced; transitions that copy none are omitted. The same seed gives the same copies.
    """
    known = set(names(transitions))
    words = sorted(word for word in known if not word.isdigit())
    siblings = _siblings(transitions, known)
    generator = random.Random(seed)
    augmented: list[Transition] = []
    for transition in transitions:
        copies = getattr(times, transition.role.value)
        for _ in range(int(copies + generator.random())):  # rounds at random, so that the mean is exact
            if transition.role is Role.HIGH:
                new_names = _same_use_names(transition, known, siblings, generator)
            else:
                new_names = _random_names(transition, known, words, generator)
            if new_names:
                augmented.append(_with_names(transition, new_names))
    return augmented


_Siblings = dict[tuple[str, str, int], list[str]]
"""The names used, by task, utterance pattern and position in the pattern."""


def _phrases(transition: Transition, known: Collection[str]) -> list[str]:
    """The names in the utterance that occur in the prompt, of one or more words, such as ``blue jay egg``."""
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
    """The utterance with a placeholder for each name."""
    return _replaced(transition.utterance, dict.fromkeys(phrases, "{}"))


def _siblings(transitions: Sequence[Transition], known: Collection[str]) -> _Siblings:
    siblings: dict[tuple[str, str, int], set[str]] = {}
    for transition in transitions:
        if transition.role is Role.HIGH:
            phrases = _phrases(transition, known)
            pattern = _pattern(transition, phrases)
            for position, phrase in enumerate(phrases):
                siblings.setdefault((transition.task, pattern, position), set()).add(phrase)
    return {key: sorted(phrases) for key, phrases in siblings.items()}


def _same_use_names(
    transition: Transition, known: Collection[str], siblings: _Siblings, generator: random.Random
) -> dict[str, str]:
    """Names that were used for the same task in the same position, or invented names."""
    phrases = _phrases(transition, known)
    pattern = _pattern(transition, phrases)
    invents = generator.random() < INVENTED
    new_names: dict[str, str] = {}
    for position, phrase in enumerate(phrases):
        chosen = generator.choice(siblings[transition.task, pattern, position])
        if invents:
            chosen = " ".join(word if word.isdigit() else _invented(generator) for word in phrase.split(" "))
        if chosen not in (*new_names, *new_names.values(), *phrases):
            # If the chosen name occurs in the prompt already, the two are swapped.
            new_names |= {phrase: chosen, chosen: phrase}
    return new_names


def _random_names(
    transition: Transition, known: Collection[str], words: Sequence[str], generator: random.Random
) -> dict[str, str]:
    """Random names for all copied words."""
    # After a failed action the progress repeats every word of the action, whether it is a name or not.
    repeated = _NAME.findall(" ".join(_ACTION.findall(transition.state)))
    in_prompt = set(_NAME.findall(transition.state))
    copied = sorted(set(_NAME.findall(transition.utterance)) & in_prompt & {*known, *repeated})
    numbers = [str(number) for number in range(1, MAX_NUMBER) if not re.search(rf"\b{number}\b", transition.state)]
    # Large numbers where there are too few small ones.
    numbers += [str(number) for number in range(1000, 1000 + len(copied) - len(numbers))]
    digits = generator.sample(numbers, len(copied))
    # A name that is already in the prompt would make a missing thing present.
    free = [word for word in words if word not in in_prompt]
    if generator.random() < INVENTED or len(free) < len(copied):
        new_words = [_invented(generator) for _ in copied]
    else:
        new_words = generator.sample(free, len(copied))
    pairs = zip(copied, digits, new_words, strict=True)
    return {name: number if name.isdigit() else word for name, number, word in pairs}


def _invented(generator: random.Random) -> str:
    """A word of two or three syllables, such as ``bado`` or ``kitemu``."""
    syllables = range(generator.choice((2, 3)))
    return "".join(generator.choice(_CONSONANTS) + generator.choice(_VOWELS) for _ in syllables)


def _with_names(transition: Transition, new_names: Mapping[str, str]) -> Transition:
    next_state = None if transition.next_state is None else _replaced(transition.next_state, new_names)
    return replace(
        transition,
        state=_replaced(transition.state, new_names),
        utterance=_replaced(transition.utterance, new_names),
        next_state=next_state,
    )


def _replaced(text: str, new_names: Mapping[str, str]) -> str:
    """Replace names simultaneously, so that names can be swapped.

    >>> _replaced("pot 5 [red ant], ant, 5C", {"red ant": "bee", "ant": "red ant", "5": "7"})
    'pot 7 [bee], red ant, 5C'
    """
    if not new_names:
        return text
    longest_first = sorted(new_names, key=len, reverse=True)
    name = "|".join(rf"{_BEFORE_NUMBER}{key}" if key.isdigit() else key for key in longest_first)
    return re.sub(rf"\b(?:{name})\b", lambda match: new_names[match[0]], text)
