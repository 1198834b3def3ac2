"""Whether a subtask was really achieved, as far as the world's own texts tell. Pure."""

from __future__ import annotations

from step_hrl.experts.scienceworld.subtasks import read
from step_hrl.types import Segment

_MEASURED = "the thermometer measures a temperature"


def achieved(segment: Segment) -> bool | None:
    """What can be seen of a subtask's end: the room, the inventory, or the world's answer. None where nothing tells.

    Only for segments with steps.
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
