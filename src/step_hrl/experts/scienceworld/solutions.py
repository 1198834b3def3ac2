"""ScienceWorld's own solutions, replayed where the rules do not reach the full score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from step_hrl.envs.base import TextEnv
from step_hrl.experts.scienceworld import cleaning, segmentation
from step_hrl.prompts import high_level, low_level
from step_hrl.prompts.low_level import Decision
from step_hrl.types import Episode, Task


class GoldPaths:
    """The simulator's gold paths as scripts; see :class:`~step_hrl.experts.base.Solutions`."""

    def actions(self, env: TextEnv, task: Task) -> list[str]:
        """The simulator's own solution."""
        return cast(Any, env).gold_actions(task)

    def cleaned(self, replay: Episode) -> Mapping[str, list[str]]:
        """``pruned``: without no-ops; ``renamed``: things are also called by the names that answers use."""
        return {"renamed": cleaning.rename(replay.steps), "pruned": cleaning.prune(replay.steps)}

    def script(self, actions: Sequence[str]) -> list[str]:
        """Subtasks from the actions alone; the last action of each completes it."""
        lines: list[str] = []
        for cut in segmentation.cut(actions):
            lines.append(high_level.utterance(cut.subtask))
            taken = actions[cut.start : cut.end]
            lines += [
                low_level.utterance(Decision(action, place == len(taken))) for place, action in enumerate(taken, 1)
            ]
        return lines
