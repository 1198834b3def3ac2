"""Text helpers the three roles share: sections of a prompt, clean lines, bounded descriptions."""

from __future__ import annotations

import re
from dataclasses import dataclass

from step_hrl.errors import UnreadableReply
from step_hrl.types import NOTHING, Observation

TEXT_CHARACTERS = 300
"""Longest answer of the world that a prompt shows."""
LOOK_CHARACTERS = 1600
"""Longest description of the surroundings that a prompt shows."""
INVENTORY_CHARACTERS = 600
"""Longest inventory that a prompt shows."""
SUBTASK_CHARACTERS = 300
"""A subtask longer than this is unreadable."""
ACTION_CHARACTERS = 300
"""An action longer than this is unreadable."""
PROGRESS_CHARACTERS = 800
"""A local progress longer than this is unreadable."""
REPLY_CHARACTERS = 8000
"""Of a reply longer than this, only the beginning is read and kept."""
SHOWN_SUBTASKS = 24
"""How many completed subtasks a prompt lists; of earlier ones it says only how many there were."""

_SPACES = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]+")


@dataclass(frozen=True, slots=True)
class PlainState:
    """A state that is its own prompt: for engines that are asked outside an episode."""

    prompt: str


def one_line(text: str) -> str:
    """Fold every run of white space and control characters into one space.

    >>> one_line(" a\\n\\tb ")
    'a b'
    """
    return _SPACES.sub(" ", text).strip()


def clip(text: str, characters: int) -> str:
    """Fold to one line and shorten to a bound, at an item's or a word's end where there is one.

    >>> clip("a table, a chair, a lamp", 19)
    'a table, a chair…'
    """
    line = one_line(text)
    if len(line) <= characters:
        return line
    head = line[: characters - 1]
    cut = max(head.rfind(", "), head.rfind(". "))
    if cut <= 0:
        cut = head.rfind(" ")
    return (head[:cut] if cut > 0 else head) + "…"


def observation_sections(observation: Observation) -> list[tuple[str, str]]:
    """The sections every role shows of an observation; those the world does not offer are left out."""
    sections: list[tuple[str, str]] = []
    if observation.text:
        sections.append(("Observation", clip(observation.text, TEXT_CHARACTERS)))
    if observation.look is not None:
        sections.append(("Look", clip(observation.look, LOOK_CHARACTERS)))
    if observation.inventory is not None:
        sections.append(("Inventory", clip(observation.inventory, INVENTORY_CHARACTERS) or NOTHING))
    return sections


def prompt(opening: str, sections: list[tuple[str, str]], asked: str) -> str:
    """Lay out a prompt: what to do, one line a section, and the label the reply continues."""
    return "\n".join([opening, *(f"{label}: {text}" for label, text in sections), f"{asked}:"])


def first_line(reply: str, limit: int) -> str:
    """The first line of a reply that says anything. Raises UnreadableReply where there is none or it is too long."""
    line = next((one_line(line) for line in reply[: 4 * limit].splitlines() if one_line(line)), "")
    if not line:
        raise UnreadableReply("empty reply")
    if len(line) > limit:
        raise UnreadableReply(f"reply longer than {limit} characters")
    return line
