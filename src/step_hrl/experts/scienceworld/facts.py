"""Local progress as text and as facts: ``key: value`` clauses, so that each update can re-read the last one."""

from __future__ import annotations

from step_hrl.prompts.text import one_line
from step_hrl.types import NOTHING

Facts = dict[str, str]

CHARACTERS = 600
"""Longest progress that is written; the oldest facts go first."""
VALUE_CHARACTERS = 200
"""Longest value of one fact; of a list, the oldest items go first."""
NOT_UNDERSTOOD = "not understood"
"""The fact that holds the last action, where the world made nothing of it."""
REFUSED = "refused"
"""The fact that holds the last action, where the world understood it but did not let it happen."""
MISSING = "missing"
"""The fact that holds what a subtask names and is not there."""
IN_VAIN = (NOT_UNDERSTOOD, REFUSED, MISSING)
"""Facts of a step after which the subtask is not done; they do not outlast it."""


def parse(progress: str) -> Facts:
    """Facts of a progress text, in order. Total: a clause without a key keeps its text as key.

    >>> parse("visited: hallway, kitchen; waited: 2")
    {'visited': 'hallway, kitchen', 'waited': '2'}
    """
    facts: Facts = {}
    if one_line(progress) == NOTHING:
        return facts
    for clause in one_line(progress).split(";"):
        key, _, value = clause.strip().partition(":")
        if key.strip():
            facts[key.strip()] = value.strip()
    return facts


def render(facts: Facts) -> str:
    """The progress text of some facts; ``None`` where there are none."""
    kept = [f"{key}: {value}" if value else key for key, value in facts.items()]
    while len(kept) > 1 and sum(len(clause) + 2 for clause in kept) > CHARACTERS:
        kept.pop(0)
    return "; ".join(kept)[:CHARACTERS] or NOTHING


def clean(value: str) -> str:
    """A value that cannot be taken for two clauses, of bounded length."""
    return one_line(value.replace(";", ","))[:VALUE_CHARACTERS].strip()


def items(facts: Facts, key: str) -> list[str]:
    """The items of a fact that is a list."""
    return [item for part in facts.get(key, "").split(",") if (item := part.strip())]


def add(facts: Facts, key: str, item: str) -> None:
    """Append an item to a list, once; the oldest items go where the list becomes too long."""
    item = clean(item).replace(",", " ")
    listed = [known for known in items(facts, key) if known != item] + [item]
    while len(listed) > 1 and len(", ".join(listed)) > VALUE_CHARACTERS:
        listed.pop(0)
    facts[key] = ", ".join(listed)


def count(facts: Facts, key: str) -> int:
    """A fact that is a number; 0 where it is none."""
    value = facts.get(key, "")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 9 else 0
