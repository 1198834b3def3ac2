"""Measure the gain of stage 2 over stage 1: mean difference over seeds, with its interval.

    .venv/bin/python experiments/stage_2_gain.py recipes/pantry-offline-rl.yaml seen,unseen 0 1 2 3 4

Runs the recipe once per seed in `runs/<name>-seed<seed>` (finished stages are reused) and compares the mean scores of
both stages on the splits. Intervals are Student's, 95%, over the differences of the seeds. Also reports the rank
correlation of V(s) with the return to go on validation episodes. Prints JSON.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from step_hrl.pipeline import Pipeline
from step_hrl.recipes import load_recipe
from step_hrl.runs.layout import VALUES_FILE

STUDENT_T = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
"""Two-sided 95% quantiles of Student's t by number of seeds."""


def main() -> None:
    """Run all seeds and print the comparison."""
    if len(sys.argv) - 3 not in STUDENT_T:
        sys.exit("usage: stage_2_gain.py RECIPE SPLIT[,SPLIT] SEED SEED [SEED ...] (2 to 10 seeds)")
    recipe, splits, seeds = Path(sys.argv[1]), sys.argv[2].split(","), [int(argument) for argument in sys.argv[3:]]
    runs = {seed: run(recipe, seed) for seed in seeds}
    figures = {
        "recipe": str(recipe),
        "splits": {split: compare({seed: scores(runs[seed], split) for seed in seeds}) for split in splits},
        "value_rank_correlation": {seed: values(runs[seed]) for seed in seeds},
    }
    print(json.dumps(figures, indent=1))


def run(recipe: Path, seed: int) -> Pipeline:
    """Run the recipe's stages with a seed."""
    name = load_recipe(recipe).name
    pipeline = Pipeline(load_recipe(recipe, [f"seed={seed}", f"output=runs/{name}-seed{seed}"]), Console(stderr=True))
    pipeline.run()
    return pipeline


def scores(pipeline: Pipeline, split: str) -> tuple[float, float]:
    """Mean scores (0 to 100) of stage 1 and stage 2."""
    first, second = (
        round(100 * pipeline.do(pipeline.evaluation(split, policy)).overall.mean_score, 2)
        for policy in (pipeline.context.layout.policy(0), pipeline.policy_folder)
    )
    return first, second


def values(pipeline: Pipeline) -> dict[str, float]:
    """Rank correlation of V(s) with the return to go, by role."""
    correlations: dict[str, float] = json.loads(pipeline.policy_folder.with_name(VALUES_FILE).read_text())
    return {role: round(value, 3) for role, value in correlations.items()}


def compare(by_seed: dict[int, tuple[float, float]]) -> dict[str, Any]:
    """Means of both stages, and their mean difference with its interval."""
    differences = [second - first for first, second in by_seed.values()]
    mean = statistics.mean(differences)
    half = STUDENT_T[len(differences)] * statistics.stdev(differences) / len(differences) ** 0.5
    return {
        "scores": {seed: {"stage_1": first, "stage_2": second} for seed, (first, second) in by_seed.items()},
        "mean": {"stage_1": stage_mean(by_seed, 0), "stage_2": stage_mean(by_seed, 1)},
        "mean_difference": round(mean, 2),
        "interval": [round(mean - half, 2), round(mean + half, 2)],
    }


def stage_mean(by_seed: dict[int, tuple[float, float]], stage: int) -> float:
    """Mean score over the seeds."""
    return round(statistics.mean(pair[stage] for pair in by_seed.values()), 2)


if __name__ == "__main__":
    main()
