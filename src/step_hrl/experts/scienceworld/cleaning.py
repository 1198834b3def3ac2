"""Gold paths made readable: pure functions from what a path did to a shorter path that should do the same."""

from __future__ import annotations

import re
from collections.abc import Sequence

from step_hrl.types import Step

_NO_OPS = ("already open", "already closed", "can't move something into itself", "No known action", "Unknown action")


def prune(steps: Sequence[Step]) -> list[str]:
    """The actions of a path without those that did nothing, such as opening what is open or looking around."""
    return [step.action for step in steps if not _does_nothing(step)]


def rename(steps: Sequence[Step]) -> list[str]:
    """Like :func:`prune`, and things are called what the world calls them in its answers."""
    return [_canonical(step) for step in steps if not _does_nothing(step)]


def _does_nothing(step: Step) -> bool:
    if any(words in step.next_observation.text for words in _NO_OPS) or step.action in ("look around", "inventory"):
        return True
    if step.action.startswith("pick up"):
        return (
            step.observation.inventory == step.next_observation.inventory
            and step.observation.look == step.next_observation.look
        )
    return False


def _canonical(step: Step) -> str:
    action, answer = step.action, step.next_observation.text
    if action.startswith("focus on") and (match := re.match(r"You focus on the (.+)\.$", answer)):
        return f"focus on {match[1]}"
    if action.startswith("pick up") and (match := re.match(r"You move the (.+) to the inventory", answer)):
        return f"pick up {match[1]}"
    if action.startswith("move ") and (match := re.match(r"You move the (.+?) to the (.+)\.$", answer)):
        return f"move {match[1]} to {action.rpartition(' to ')[2]}"
    return action
