"""Whether a subtask was achieved, according to the environment's texts. Pure."""

from __future__ import annotations

from step_hrl.experts.scienceworld.subtasks import read
from step_hrl.types import Segment

_MEASURED = "the thermometer measures a temperature"


def achieved(segment: Segment) -> bool | None:
    """Decide from the final room, the inventory or the answers; None where the texts do not show it.

    The segment must have steps.
    """
    kind, words = read(segment.subtask)
    last = segment.steps[-1].next_observation
    answers = [step.next_observation.text for step in segment.steps if step.is_valid_action]
    if kind == "go":
        return (last.look or "").startswith(f"{words['room']}:")
    if kind in ("find", "await", "focus"):
        return any(answer.startswith("You focus on the ") for answer in answers)
    if kind in ("take", "get"):
        return words["thing"] in (last.inventory or "")
    if kind == "take_plant":
        return words["pot"] in (last.inventory or "")
    if kind == "put":
        return any("You move the " in answer and answer.endswith(f" {words['place']}.") for answer in answers)
    if kind == "measure":
        return any(_MEASURED in answer for answer in answers)
    return None
