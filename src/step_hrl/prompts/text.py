"""Text helpers shared by all roles: sections of a prompt, single lines, bounded descriptions."""

from __future__ import annotations

import re

from step_hrl.errors import UnreadableReply
from step_hrl.types import NOTHING, Observation

LAYOUT = 2
"""Version of the prompts' layout. A policy reads only the layout that it was trained with, so any change raises it."""
TEXT_CHARACTERS = 300
"""Maximum length of the environment's answer in a prompt."""
LOOK_CHARACTERS = 1600
"""Maximum length of the description of the surroundings in a prompt."""
INVENTORY_CHARACTERS = 600
"""Maximum length of the inventory in a prompt."""
SUBTASK_CHARACTERS = 300
"""A subtask longer than this is unreadable."""
ACTION_CHARACTERS = 300
"""An action longer than this is unreadable."""
PROGRESS_CHARACTERS = 800
"""A local progress longer than this is unreadable."""
REPLY_CHARACTERS = 8000
"""A longer reply is truncated to this length."""
SHOWN_SUBTASKS = 24
"""Maximum number of completed subtasks listed in a prompt; earlier ones are only counted."""

_SPACES = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def one_line(text: str) -> str:
    """Replace every run of whitespace and control characters by one space.

    >>> one_line(" a\\n\\tb ")
    'a b'
    """
    return _SPACES.sub(" ", text).strip()


def clip(text: str, characters: int) -> str:
    """Fold to one line and truncate to ``characters``, after an item or a word where possible.

    >>> clip("a table, a chair, a lamp", 19)
    'a table, a chair…'
    """
    line = one_line(text)
    if len(line) <= characters:
        return line
    head = line[: characters - 1]
    end = max(head.rfind(", "), head.rfind(". "))
    if end <= 0:
        end = head.rfind(" ")
    return (head[:end] if end > 0 else head) + "…"


def observation_sections(observation: Observation) -> list[tuple[str, str]]:
    """The sections of an observation, the same for every role; those that the world does not offer are omitted.

    The most lasting comes first: the surroundings outlast many actions, the answer to the last action only one.
    """
    sections: list[tuple[str, str]] = []
    if observation.look is not None:
        sections.append(("Look", clip(observation.look, LOOK_CHARACTERS)))
    if observation.inventory is not None:
        sections.append(("Inventory", clip(observation.inventory, INVENTORY_CHARACTERS) or NOTHING))
    if observation.text:
        sections.append(("Observation", clip(observation.text, TEXT_CHARACTERS)))
    return sections


def prompt(sections: list[tuple[str, str]], reply_label: str) -> str:
    """Lay out a prompt: one line per section, and the label that the reply continues.

    What the roles of one instant have in common comes first, so that it is read once for all of them: the observation,
    then the subtask, then what a role alone reads.
    """
    return "\n".join([*(f"{label}: {text}" for label, text in sections), f"{reply_label}:"])


def first_line(reply: str, limit: int) -> str:
    """The first non-empty line of a reply. Raises UnreadableReply where there is none or it exceeds ``limit``."""
    line = next((one_line(line) for line in reply[: 4 * limit].splitlines() if one_line(line)), "")
    if not line:
        raise UnreadableReply("empty reply")
    if len(line) > limit:
        raise UnreadableReply(f"reply longer than {limit} characters")
    return line
