"""Names of the files and folders of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

EPISODES_FILE = "episodes.jsonl"
VALUE_ESTIMATES_FILE = "value_estimates.jsonl"
METRICS_FILE = "metrics.jsonl"
POLICY_FOLDER = "policy"
RECIPE_FILE = "recipe.yaml"
SELECTION_FILE = "selection.json"
SUMMARY_FILE = "summary.json"
TRAINING_FILE = "training.json"
VALUES_FILE = "values.json"
STAGES = ("demonstrations", "behavior_cloning", "collection", "offline_rl", "evaluation")
"""In the order in which they run."""


@dataclass(frozen=True)
class RunLayout:
    """Paths of one run. ``shared_demonstrations`` is the folder of its demonstrations if it lies outside the run."""

    root: Path
    shared_demonstrations: Path | None = None

    @property
    def recipe(self) -> Path:
        """The complete recipe, defaults included."""
        return self.root / RECIPE_FILE

    @property
    def demonstrations(self) -> Path:
        """The file of the expert's episodes."""
        return (self.shared_demonstrations or self.root / "demonstrations") / EPISODES_FILE

    @property
    def evaluations(self) -> Path:
        """The folder of all evaluations."""
        return self.root / "evaluation"

    def stage(self, name: str) -> Path:
        """The folder of a stage."""
        return self.demonstrations.parent if name == STAGES[0] else self.root / name

    def policy(self, number: int) -> Path:
        """The policy of a round of stage 2; round 0 is stage 1."""
        stage = self.root / "offline_rl" / f"round-{number}" if number else self.root / "behavior_cloning"
        return stage / POLICY_FOLDER

    def collected(self, number: int) -> Path:
        """The file of the episodes collected for a round of stage 2."""
        return self.root / "collection" / f"round-{number}" / EPISODES_FILE

    def evaluation(self, label: str, split: str) -> Path:
        """The folder of the evaluation of a policy on a split; see :meth:`label`."""
        return self.evaluations / f"{label}-{split}"

    def holds(self, policy: Path) -> bool:
        """Whether a path is the policy folder of a stage of this run."""
        return policy.name == POLICY_FOLDER and policy.resolve().is_relative_to(self.root.resolve())

    def label(self, policy: Path) -> str:
        """A policy's name in the folders of evaluations.

        >>> RunLayout(Path("runs/a")).label(Path("runs/a/offline_rl/round-1/policy"))
        'offline_rl-round-1'
        """
        stage = policy.parent if policy.name == POLICY_FOLDER else policy
        return "-".join(stage.relative_to(self.root).parts) if stage.is_relative_to(self.root) else stage.name
