"""Stage 2: step-level offline RL on demonstrations and collected episodes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from step_hrl.config import OfflineRLConfig
from step_hrl.data.episode_files import encode_line
from step_hrl.data.transitions import trust_policy
from step_hrl.errors import RecipeError
from step_hrl.experts.base import verifier_for
from step_hrl.runs.files import write_atomically
from step_hrl.runs.layout import SELECTION_FILE
from step_hrl.runs.manifest import digest
from step_hrl.runs.timing import timed
from step_hrl.stages.base import RunContext
from step_hrl.stages.collection import Collection, check_rewards
from step_hrl.stages.demonstrations import Demonstrations
from step_hrl.stages.training import already_trained, check_trackers, describe, note, split, training_inputs
from step_hrl.types import Episode


class OfflineRL:
    """One round of stage 2: trains the policy of the round before further."""

    name = "offline_rl"

    def __init__(
        self,
        context: RunContext,
        number: int,
        demonstrations: Demonstrations,
        collections: Sequence[Collection],
        score: Callable[[Path], float],
    ) -> None:
        """Train on demonstrations and the collections of all rounds so far.

        ``number`` counts rounds from 1; ``score`` evaluates a checkpoint where several are kept to choose from. Raises
        :class:`~step_hrl.errors.RecipeError` for a recipe without stage 2.
        """
        if context.recipe.offline_rl is None:
            remedy = "add a section `offline_rl:`, if only with `epochs: 3`"
            raise RecipeError("offline_rl", "not in the recipe", remedy)
        self._context = context
        self._config: OfflineRLConfig = context.recipe.offline_rl
        self._number = number
        self._demonstrations = demonstrations
        self._collections = collections
        self._score = score
        self._before = context.layout.policy(number - 1)

    @property
    def policy(self) -> Path:
        """The trained policy's folder."""
        return self._context.layout.policy(self._number)

    @property
    def folder(self) -> Path:
        """Checkpoints and metrics of the round."""
        return self.policy.parent

    @property
    def inputs(self) -> Mapping[str, Any]:
        """The episodes, the policy before, the settings and what the agent reads."""
        return {
            "episodes": digest(*(encode_line(episode) for episode in (*self._expert, *self._collected))),
            "policy": self._context.policy_digest(self._before),
            **training_inputs(self._context, self._config),
        }

    def run(self) -> Path:
        """Train, or go on from the last checkpoint; return the folder of the best policy."""
        # Imports torch: what needs no model starts at once.
        from step_hrl.training import checkpoints
        from step_hrl.training.offline_rl import run

        check_trackers(self._context)
        if already_trained(self._context, self.policy, "offline RL"):
            return self.policy
        recipe, config, expert, collected = self._context.recipe, self._config, self._expert, self._collected
        is_verified = config.subtask_reward == "verified"
        verifier = verifier_for(self._context.world.name) if is_verified else trust_policy
        apart = [episode for episode in self._demonstrations.load_validation() if episode.error is None]
        train, validation = split(self._context, [*expert, *collected], apart, config.validation_fraction, verifier)
        sources = f"{len(expert)} demonstrations and {len(collected)} collected episodes"
        self._context.console.print(f"offline RL: {len(train)} decisions from {sources}", markup=False)
        note(self._context, self.folder, self._number, expert, collected, train, validation)
        ids = frozenset(episode.id for episode in collected)
        with timed(self.folder):
            run(config, recipe.backbone, self._before, train, validation, ids, self.folder, recipe.seed)
        checkpoints.publish(self._best(checkpoints.every(self.folder)), self.policy)
        describe(self._context, self.policy)
        return self.policy

    @cached_property
    def _expert(self) -> list[Episode]:
        if not self._config.data_weights.demonstration:
            return []
        episodes = [episode for episode in self._demonstrations.load() if episode.error is None]
        check_rewards(self._demonstrations.file, episodes)
        return episodes

    @cached_property
    def _collected(self) -> list[Episode]:
        rounds = self._collections if self._config.data_weights.collected else ()
        return [episode for collection in rounds for episode in collection.load()]

    def _best(self, candidates: Sequence[Path]) -> Path:
        """The checkpoint that scores best on the selection's split; the latest of equals. One alone is not played."""
        if len(candidates) == 1:
            return candidates[0]
        scores = {path.name: self._score(path) for path in candidates}
        best = max(candidates, key=lambda path: (scores[path.name], candidates.index(path)))
        split = self._config.selection.split
        selection = {"split": split, "scores": scores, "chosen": best.name}
        write_atomically(best.with_name(SELECTION_FILE), json.dumps(selection, indent=1) + "\n")
        shown = ", ".join(f"{name} {100 * score:.1f}" for name, score in scores.items())
        self._context.console.print(f"offline RL: {best.name} is best on {split} ({shown})", markup=False)
        return best
