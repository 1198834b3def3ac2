"""Shorten the simulator's gold paths without changing their effect. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from step_hrl.types import Step

_NO_OPS = ("already open", "already closed", "can't move something into itself", "No known action", "Unknown action")


def prune(steps: Sequence[Step]) -> list[str]:
    """The actions of a path without no-ops, such as opening an open door or looking around."""
    return [step.action for step in steps if not _is_no_op(step)]


def rename(steps: Sequence[Step]) -> list[str]:
    """Like :func:`prune`, with each thing under the name in the environment's answer."""
    return [_canonical(step) for step in steps if not _is_no_op(step)]


def _is_no_op(step: Step) -> bool:
    if any(text in step.next_observation.text for text in _NO_OPS) or step.action in ("look around", "inventory"):
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
