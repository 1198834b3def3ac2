"""Local progress as facts: the text is a list of ``key: value`` clauses, which each update parses again."""

from __future__ import annotations

from step_hrl.prompts.text import one_line
from step_hrl.types import NOTHING

Facts = dict[str, str]

CHARACTERS = 600
"""Maximum length of a progress text; the oldest facts are dropped first."""
VALUE_CHARACTERS = 200
"""Maximum length of a value; the oldest items of a list are dropped first."""
NOT_UNDERSTOOD = "not understood"
"""Key of the last action, where the environment did not recognize it."""
REFUSED = "refused"
"""Key of the last action, where the environment recognized it but refused to execute it."""
MISSING = "missing"
"""Key of a thing that the subtask names but that is not there."""
FAILURES = (NOT_UNDERSTOOD, REFUSED, MISSING)
"""Keys of facts that show a failed step; they are removed at the next update."""


def parse(progress: str) -> Facts:
    """The facts of a progress text, in order. Accepts any text: a clause without a colon becomes a key.

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
    """The progress text of facts; ``None`` where there are none."""
    clauses = [f"{key}: {value}" if value else key for key, value in facts.items()]
    while len(clauses) > 1 and sum(len(clause) + 2 for clause in clauses) > CHARACTERS:
        clauses.pop(0)
    return "; ".join(clauses)[:CHARACTERS] or NOTHING


def clean(value: str) -> str:
    """A value without separators of clauses, truncated."""
    return one_line(value.replace(";", ","))[:VALUE_CHARACTERS].strip()


def items(facts: Facts, key: str) -> list[str]:
    """The items of a fact that is a list."""
    return [item for part in facts.get(key, "").split(",") if (item := part.strip())]


def add(facts: Facts, key: str, item: str) -> None:
    """Append an item to a list without duplicates; the oldest items are dropped where the list becomes too long."""
    item = clean(item).replace(",", " ")
    listed = [known for known in items(facts, key) if known != item] + [item]
    while len(listed) > 1 and len(", ".join(listed)) > VALUE_CHARACTERS:
        listed.pop(0)
    facts[key] = ", ".join(listed)


def count(facts: Facts, key: str) -> int:
    """A fact that is a number; 0 where it is none."""
    value = facts.get(key, "")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 9 else 0
