"""The order of a recipe's stages, and the rule when one is done again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from rich.console import Console

from step_hrl.agents.base import Watcher
from step_hrl.agents.registry import agent_for
from step_hrl.config import Recipe
from step_hrl.envs.registry import world_for
from step_hrl.errors import RecipeError, did_you_mean
from step_hrl.evaluation import Summary, table
from step_hrl.recipes import to_yaml
from step_hrl.runs import manifest
from step_hrl.runs.files import write_if_changed
from step_hrl.runs.layout import STAGES, RunLayout
from step_hrl.runs.lock import RunLock
from step_hrl.stages.base import RunContext, Stage
from step_hrl.stages.behavior_cloning import BehaviorCloning
from step_hrl.stages.collection import Collection
from step_hrl.stages.demonstrations import Demonstrations
from step_hrl.stages.evaluation import Evaluation
from step_hrl.stages.offline_rl import OfflineRL
from step_hrl.stages.training import check_trackers
from step_hrl.types import Role

Output = TypeVar("Output")


class Pipeline:
    """A recipe's stages in its output folder, where only one process at a time may work."""

    def __init__(self, recipe: Recipe, console: Console, *, demonstrations: Path | None = None) -> None:
        """Check the recipe's world, splits and tasks at once. Raises :class:`~step_hrl.errors.StepHrlError`.

        ``demonstrations`` is the folder of the demonstrations if it is not the run's own: runs may share them. Then one
        process at a time makes them, and the others wait.
        """
        self.recipe = recipe
        self.lock = RunLock(recipe.folder)
        self._demonstrations_lock = RunLock(demonstrations.parent, waits=True) if demonstrations else self.lock
        layout = RunLayout(recipe.folder, demonstrations)
        self.context = RunContext(recipe, layout, world_for(recipe.world), agent_for(recipe.agent), console)
        self.demonstrations = Demonstrations(self.context)
        for split in recipe.evaluation.splits:
            self.context.tasks(split)
        if recipe.offline_rl is not None:
            self.context.tasks(recipe.collection.split)
            if recipe.offline_rl.keep_checkpoints > 1:
                self.context.tasks(recipe.offline_rl.selection.split)

    @property
    def rounds(self) -> range:
        """The rounds of stage 2, counted from 1; none without stage 2."""
        return range(1, self.recipe.collection.rounds + 1) if self.recipe.offline_rl is not None else range(0)

    @property
    def policy_folder(self) -> Path:
        """The policy of the latest stage that has been done."""
        trained = (self.context.layout.policy(number) for number in reversed(self.rounds))
        return next((folder for folder in trained if folder.is_dir()), self.context.layout.policy(0))

    def behavior_cloning(self) -> BehaviorCloning:
        """Stage 1."""
        return BehaviorCloning(self.context, self.demonstrations)

    def collection(self, number: int = 1) -> Collection:
        """A round's collection."""
        return Collection(self.context, number)

    def offline_rl(self, number: int = 1) -> OfflineRL:
        """A round of stage 2. Raises :class:`~step_hrl.errors.RecipeError` for a recipe without one."""
        collections = [self.collection(each) for each in range(1, number + 1)]
        return OfflineRL(self.context, number, self.demonstrations, collections, self._score)

    def evaluation(
        self,
        split: str,
        policy: Path | None,
        *,
        per_task: int | None = None,
        oracle: Sequence[Role] = (),
        watcher: Watcher | None = None,
    ) -> Evaluation:
        """The evaluation of a policy on a split; see :class:`~step_hrl.stages.evaluation.Evaluation`."""
        return Evaluation(
            self.context, self.demonstrations, split, policy, per_task=per_task, oracle=oracle, watcher=watcher
        )

    def run(self) -> dict[str, Summary]:
        """All stages, then one table of the scores. A served model is only evaluated."""
        with self.lock:
            policies = {} if self.recipe.api is not None else self._train()
            summaries = self._evaluate(policies)
        self.context.console.print(table(summaries))
        self.context.console.print(f"Everything is in {self.recipe.folder}", markup=False)
        return summaries

    def do(self, stage: Stage[Output]) -> Output:
        """Run a stage. A folder made from the same inputs is resumed; one made from others is moved aside first."""
        with self.lock, self._demonstrations_lock if stage is self.demonstrations else self.lock:
            manifest.enter_stage(stage.folder, stage.inputs, self.context.console)
            write_if_changed(self.context.layout.recipe, to_yaml(self.recipe))
            return stage.run()

    def restart_from(self, stage: str) -> None:
        """Move aside the output of a stage and of those after it. Raises RecipeError for an unknown stage."""
        if stage not in STAGES:
            raise RecipeError("--from", f"no stage {stage!r}", did_you_mean(stage, STAGES))
        with self.lock:
            for folder in map(self.context.layout.stage, STAGES[STAGES.index(stage) :]):
                if folder.is_dir():
                    aside = manifest.move_aside(folder).name
                    self.context.console.print(f"{folder}: moved to {aside}", markup=False)

    def _train(self) -> dict[str, Path]:
        """The trained policies by the name of their stage."""
        check_trackers(self.context)
        self.do(self.demonstrations)
        policies = {"behavior cloning": self.do(self.behavior_cloning())}
        for number in self.rounds:
            self.do(self.collection(number))
            policies["offline RL"] = self.do(self.offline_rl(number))
        return policies

    def _evaluate(self, policies: dict[str, Path]) -> dict[str, Summary]:
        few = self.recipe.evaluation.untrained_per_task
        summaries: dict[str, Summary] = {}
        for split in self.recipe.evaluation.splits:
            if self.recipe.api is not None:
                summaries[split] = self.do(self.evaluation(split, None))
            elif few:
                summaries[f"{split}, untrained"] = self.do(self.evaluation(split, None, per_task=few))
            for label, policy in policies.items():
                summaries[f"{split}, {label}"] = self.do(self.evaluation(split, policy))
        return summaries

    def _score(self, policy: Path) -> float:
        """A checkpoint's mean score on the split that stage 2 selects on."""
        assert self.recipe.offline_rl is not None, "only stage 2 selects"
        selection = self.recipe.offline_rl.selection
        stage = self.evaluation(selection.split, policy, per_task=selection.per_task)
        return self.do(stage).overall.mean_score
