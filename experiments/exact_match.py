"""Exact match of a run's stage 1 on demonstrations of any split, by role, and where a name was never trained.

    .venv/bin/python experiments/exact_match.py runs/scienceworld-smollm2 test 4

Demonstrates four variations of each task of the split, in a folder of the run, and compares the policy's most likely
tokens with the expert's utterances. ``copy`` counts those with a word that no training utterance has. Prints JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from accelerate import Accelerator
from rich.console import Console

from step_hrl.config import RoleWeights
from step_hrl.data.transitions import trust_policy
from step_hrl.models import backbone as backbones
from step_hrl.models.collate import TransitionTokens, batches_of, collate, size_of, tokenize, words
from step_hrl.pipeline import Pipeline
from step_hrl.recipes import load_recipe
from step_hrl.runs.layout import RECIPE_FILE
from step_hrl.stages.behavior_cloning import solved
from step_hrl.training.behavior_cloning import BehaviorCloning
from step_hrl.training.metrics import Means
from step_hrl.types import Role, Transition

TOKENS_PER_BATCH = 2048


def main() -> None:
    """Demonstrate, measure and print."""
    if len(sys.argv) != 4:
        sys.exit("usage: exact_match.py RUN SPLIT PER_TASK")
    run, split, per_task = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    trained = Pipeline(load_recipe(run / RECIPE_FILE, [f"output={run}"]), Console(stderr=True))
    overrides = [
        f"demonstrations.split={split}",
        f"demonstrations.per_task={per_task}",
        "demonstrations.validation_split=null",
    ]
    other = Pipeline(
        load_recipe(run / RECIPE_FILE, [f"output={run / 'exact-match' / split}", *overrides]), Console(stderr=True)
    )
    other.do(other.demonstrations)
    known = words(cloned(trained))
    figures = exact_match(trained, cloned(other), known)
    print(json.dumps({"run": str(run), "split": split, "per_task": int(per_task), **figures}, indent=1))


def cloned(pipeline: Pipeline) -> list[Transition]:
    """The decisions that stage 1 clones, or would."""
    episodes = solved(pipeline.demonstrations.load())
    decisions = [
        decision for episode in episodes for decision in pipeline.context.agent.transitions(episode, trust_policy)
    ]
    return [decision for decision in decisions if decision.clone_mask]


@torch.no_grad()
def exact_match(pipeline: Pipeline, decisions: list[Transition], known: frozenset[str]) -> dict[str, dict[str, float]]:
    """Share of utterances that match in every token, and their number, by role."""
    config = pipeline.context.recipe.backbone
    policy = config.model_copy(update={"source": str(pipeline.policy_folder), "lora": None})
    backbone = backbones.load(policy)
    objective = BehaviorCloning(backbone, RoleWeights()).eval()
    tokens: list[TransitionTokens] = tokenize(decisions, backbone.tokenizer, backbone.context, known_words=known)
    samples = [[each] for each in tokens]
    means = Means()
    for indices in batches_of([*map(size_of, samples)], TOKENS_PER_BATCH, 0, 0):
        batch = collate([samples[index] for index in indices], backbone.tokenizer.pad, 16).to(backbone.device)
        with backbone.autocast("auto"):
            means.add(objective.evaluate(batch))
    shares = {name: round(share, 3) for name, share in means.read(Accelerator()).items() if not name.startswith("loss")}
    numbers = {role.value: sum(each.role is role for each in tokens) for role in Role}
    novel = {role.value: sum(each.role is role and each.is_novel for each in tokens) for role in Role}
    return {"match": shares, "decisions": numbers, "novel": novel}


if __name__ == "__main__":
    main()
