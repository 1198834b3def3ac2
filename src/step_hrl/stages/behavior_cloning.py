"""Stage 1: behavior cloning on the demonstrations that succeeded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from step_hrl.data.episode_files import encode_line
from step_hrl.data.transitions import deduplicate
from step_hrl.errors import DataError
from step_hrl.runs.manifest import digest
from step_hrl.runs.timing import timed
from step_hrl.stages.base import RunContext
from step_hrl.stages.demonstrations import Demonstrations
from step_hrl.stages.training import already_trained, check_trackers, describe, note, split, training_inputs
from step_hrl.types import Episode


class BehaviorCloning:
    """Trains the first policy."""

    name = "behavior_cloning"

    def __init__(self, context: RunContext, demonstrations: Demonstrations) -> None:
        """Train on these demonstrations."""
        self._context = context
        self._demonstrations = demonstrations

    @property
    def policy(self) -> Path:
        """The trained policy's folder."""
        return self._context.layout.policy(0)

    @property
    def folder(self) -> Path:
        """Checkpoints and metrics."""
        return self.policy.parent

    @property
    def inputs(self) -> Mapping[str, Any]:
        """The demonstrations that succeeded, the backbone, the settings and what the agent reads."""
        return {
            "demonstrations": digest(*(encode_line(episode) for episode in self._solved)),
            "backbone": self._context.recipe.backbone.model_dump(mode="json"),
            **training_inputs(self._context, self._context.recipe.behavior_cloning),
        }

    def run(self) -> Path:
        """Train, or go on from the last checkpoint; return the policy's folder."""
        # Imports torch: what needs no model starts at once.
        from step_hrl.training.behavior_cloning import run

        check_trackers(self._context)
        if already_trained(self._context, self.policy, "behavior cloning"):
            return self.policy
        recipe, config = self._context.recipe, self._context.recipe.behavior_cloning
        apart = solved(self._demonstrations.load_validation())
        train, validation = split(self._context, self._solved, apart, config.validation_fraction)
        if config.deduplicate:
            train = deduplicate(train)
        line = f"behavior cloning: {len(train)} decisions from {len(self._solved)} demonstrations"
        self._context.console.print(line, markup=False)
        note(self._context, self.folder, 0, self._solved, [], train, validation)
        with timed(self.folder):
            run(config, recipe.backbone, train, validation, self.folder, recipe.seed)
        describe(self._context, self.policy)
        return self.policy

    @cached_property
    def _solved(self) -> list[Episode]:
        chosen = solved(self._demonstrations.load())
        if not chosen:
            file = str(self._demonstrations.file)
            raise DataError(file, "no demonstration succeeded", "inspect them with `step-hrl play --episodes`")
        return chosen


def solved(episodes: Iterable[Episode]) -> list[Episode]:
    """The episodes that succeeded."""
    return [episode for episode in episodes if episode.success and episode.error is None]
