"""Gold paths made readable: pure functions from what a path did to a shorter path that should do the same."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from step_hrl.types import Observation

_NO_OPS = ("already open", "already closed", "can't move something into itself", "No known action", "Unknown action")


class Trace(NamedTuple):
    """One action of a path, what was seen before it and after it."""

    before: Observation
    action: str
    after: Observation


def prune(trace: Sequence[Trace]) -> list[str]:
    """The actions of a path without those that did nothing, such as opening what is open or looking around."""
    return [step.action for step in trace if not _does_nothing(step)]


def rename(trace: Sequence[Trace]) -> list[str]:
    """Like :func:`prune`, and things are called what the world calls them in its answers."""
    return [_canonical(step) for step in trace if not _does_nothing(step)]


def _does_nothing(step: Trace) -> bool:
    if any(words in step.after.text for words in _NO_OPS) or step.action in ("look around", "inventory"):
        return True
    if step.action.startswith("pick up"):
        return step.before.inventory == step.after.inventory and step.before.look == step.after.look
    return False


def _canonical(step: Trace) -> str:
    action, answer = step.action, step.after.text
    if action.startswith("focus on") and (match := re.match(r"You focus on the (.+)\.$", answer)):
        return f"focus on {match[1]}"
    if action.startswith("pick up") and (match := re.match(r"You move the (.+) to the inventory", answer)):
        return f"pick up {match[1]}"
    if action.startswith("move ") and (match := re.match(r"You move the (.+?) to the (.+)\.$", answer)):
        return f"move {match[1]} to {action.rpartition(' to ')[2]}"
    return action
