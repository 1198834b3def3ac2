"""ScienceWorld's gold paths, replayed where the rules do not reach the full score."""

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
        """The simulator's gold actions for a task."""
        return cast(Any, env).gold_actions(task)

    def cleaned(self, replay: Episode) -> Mapping[str, list[str]]:
        """``pruned``: without no-ops; ``renamed``: also with the names of things that answers use."""
        return {"renamed": cleaning.rename(replay.steps), "pruned": cleaning.prune(replay.steps)}

    def script(self, actions: Sequence[str]) -> list[str]:
        """Utterances for subtasks derived from the actions; the last action of each completes it."""
        lines: list[str] = []
        for cut in segmentation.cut(actions):
            lines.append(high_level.utterance(cut.subtask))
            last = cut.end - 1
            lines += [low_level.utterance(Decision(actions[i], i == last)) for i in range(cut.start, cut.end)]
        return lines
