"""Does stage 2 score better than stage 1? One recipe, several seeds, the difference and its interval.

    .venv/bin/python experiments/stage_2_gain.py recipes/pantry-offline-rl.yaml unseen 0 1 2 3 4

Runs the recipe once a seed into `runs/<name>-seed<seed>` (what is there is not done again) and compares the mean
scores of both stages on one split. The interval is Student's over the seeds' differences, 95%. Printed as JSON.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

from rich.console import Console

from step_hrl.config import load_recipe
from step_hrl.pipeline import Pipeline

STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
"""Two-sided 95% points by number of seeds."""


def main() -> None:
    """Run, compare, print."""
    if len(sys.argv) - 3 not in STUDENT:
        sys.exit("usage: stage_2_gain.py RECIPE SPLIT SEED SEED [SEED ...] (2 to 10 seeds)")
    recipe, split, seeds = Path(sys.argv[1]), sys.argv[2], [int(word) for word in sys.argv[3:]]
    scores = {seed: run(recipe, split, seed) for seed in seeds}
    differences = [second - first for first, second in scores.values()]
    mean = statistics.mean(differences)
    half = STUDENT[len(seeds)] * statistics.stdev(differences) / len(seeds) ** 0.5
    figures = {
        "recipe": str(recipe),
        "split": split,
        "scores": {seed: {"stage_1": first, "stage_2": second} for seed, (first, second) in scores.items()},
        "mean_difference": round(mean, 2),
        "interval": [round(mean - half, 2), round(mean + half, 2)],
    }
    print(json.dumps(figures, indent=1))


def run(recipe: Path, split: str, seed: int) -> tuple[float, float]:
    """Mean scores (0 to 100) of stage 1 and stage 2 with a seed."""
    name = load_recipe(recipe).name
    loaded = load_recipe(recipe, [f"seed={seed}", f"output=runs/{name}-seed{seed}"])
    pipeline = Pipeline(loaded, Console(stderr=True))
    pipeline.run()
    policies = (pipeline.cloned_policy, pipeline.round_policy(loaded.collection.rounds))
    first, second = (round(100 * pipeline.evaluate(split, policy).overall.mean_score, 2) for policy in policies)
    return first, second


if __name__ == "__main__":
    main()
