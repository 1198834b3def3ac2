"""The low level: the next action from subtask, local progress and observation."""

from __future__ import annotations

from step_hrl.experts.scienceworld import (
    chemistry,
    circuit,
    facts,
    giving_up,
    grow,
    life_stages,
    matter,
    melting_point,
    screen,
    skills,
    subtasks,
)
from step_hrl.experts.scienceworld.subtasks import Subtask
from step_hrl.prompts.low_level import Decision
from step_hrl.types import Observation

_RULES: dict[str, skills.Rule] = {
    **skills.RULES,
    **matter.RULES,
    **melting_point.RULES,
    **circuit.RULES,
    **chemistry.RULES,
    **life_stages.RULES,
    **grow.RULES,
}

_ONE_ACTION = {"focus", "find", "await", "get", "put", "plant", "dig"}
"""Subtasks that are complete once the environment's question which thing is meant has been answered."""


def act(subtask: str, progress: str, observation: Observation) -> Decision | None:
    """The next action and whether it completes the subtask; None where no rule applies.

    When the environment asks which of several things is meant, the answer is the first.
    """
    kind, words = subtasks.read(subtask)
    known = facts.parse(progress)
    if kind not in _RULES:
        return None
    if "asked" in known:
        return Decision("0", kind in _ONE_ACTION or (kind == "take" and "focused" in known))
    scene = screen.read(observation)
    if giving_up.missing(Subtask(kind, words), known, scene) is not None:
        return skills.NOTHING_LEFT
    return _RULES[kind](words, known, scene)
