"""The high level: the next subtask from instruction, completed subtasks, final progress and observation."""

from __future__ import annotations

import re
from collections.abc import Callable

from step_hrl.experts.scienceworld import (
    chemistry,
    circuit,
    facts,
    find,
    grow,
    life_stages,
    lifespan,
    matter,
    melting_point,
    screen,
    thermometer,
)
from step_hrl.experts.scienceworld.situation import Situation
from step_hrl.prompts.text import SHOWN_SUBTASKS
from step_hrl.types import Observation

_Plan = Callable[[Situation, "re.Match[str]"], str | None]

_PLANS: tuple[tuple[re.Pattern[str], _Plan], ...] = (
    (find.TASK, find.plan),
    (lifespan.TASK, lifespan.plan),
    (thermometer.TASK, thermometer.plan),
    (circuit.POWER, circuit.power),
    (circuit.CONDUCTIVITY, circuit.conductivity),
    (matter.TASK, matter.plan),
    (grow.PLANT, grow.plant),
    (grow.FRUIT, grow.fruit),
    (life_stages.ANIMAL, life_stages.animal),
    (life_stages.PLANT, life_stages.plant),
    (chemistry.PAINT, chemistry.paint),
    (chemistry.MIX, chemistry.mix),
    (melting_point.TASK, melting_point.plan),
)


def next_subtask(
    instruction: str, completed_subtasks: tuple[str, ...], final_progress: str, observation: Observation
) -> str | None:
    """The next subtask; None where the task is complete or unknown to the expert.

    Reads only what the high level's prompt contains: of a long list, the last subtasks.
    """
    for pattern, plan in _PLANS:
        if match := pattern.search(instruction):
            scene = screen.read(observation)
            done = completed_subtasks[-SHOWN_SUBTASKS:]
            if any(note in facts.parse(final_progress) for note in facts.FAILURES):
                done = done[:-1]  # the last subtask ended without success
            return plan(Situation(done, final_progress, scene), match)
    return None
