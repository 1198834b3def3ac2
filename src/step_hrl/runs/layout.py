"""Where a run keeps what it makes: the names of its files and folders."""

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
"""In the order in which each is made from those before it."""


@dataclass(frozen=True)
class RunLayout:
    """The places of one run. ``shown`` is the folder of its demonstrations, if that is not its own."""

    root: Path
    shown: Path | None = None

    @property
    def recipe(self) -> Path:
        """The whole recipe that it is made from."""
        return self.root / RECIPE_FILE

    @property
    def demonstrations(self) -> Path:
        """The expert's episodes."""
        return (self.shown or self.root / "demonstrations") / EPISODES_FILE

    @property
    def evaluations(self) -> Path:
        """The folder of all evaluations."""
        return self.root / "evaluation"

    def stage(self, name: str) -> Path:
        """The folder of one of the stages."""
        return self.demonstrations.parent if name == STAGES[0] else self.root / name

    def policy(self, number: int) -> Path:
        """Where a round of stage 2 leaves its policy; round 0 is stage 1."""
        stage = self.root / "offline_rl" / f"round-{number}" if number else self.root / "behavior_cloning"
        return stage / POLICY_FOLDER

    def collected(self, number: int) -> Path:
        """The episodes that a round of stage 2 learns from."""
        return self.root / "collection" / f"round-{number}" / EPISODES_FILE

    def evaluation(self, label: str, split: str) -> Path:
        """Where the evaluation of a policy of this label is kept."""
        return self.evaluations / f"{label}-{split}"

    def holds(self, policy: Path) -> bool:
        """Whether a stage of this run has left a policy there."""
        return policy.name == POLICY_FOLDER and policy.resolve().is_relative_to(self.root.resolve())

    def label(self, policy: Path) -> str:
        """A policy's name among the evaluations.

        >>> RunLayout(Path("runs/a")).label(Path("runs/a/offline_rl/round-1/policy"))
        'offline_rl-round-1'
        """
        place = policy.parent if policy.name == POLICY_FOLDER else policy
        return "-".join(place.relative_to(self.root).parts) if place.is_relative_to(self.root) else place.name
