"""Measure training that reads shared beginnings once against one row a decision, on demonstrations of a finished run.

    .venv/bin/python benchmarks/shared_prefixes.py [RECIPE [key=value ...]]    # default: the quickstart

Both compute the same losses of the same decisions, with the recipe's backbone, in batches of as many tokens; forward
and backward pass, alternately in one process. It prints tokens, padding and decisions a second.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Sequence
from itertools import cycle
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from step_hrl.data.transitions import deduplicate, transitions
from step_hrl.losses import utterance_log_likelihood
from step_hrl.models import backbone as backbones
from step_hrl.models.backbone import Backbone
from step_hrl.models.collate import Sample, batches_of, collate, samples_by_beginning, size_of, tokenize
from step_hrl.models.prefix_rows import rounded
from step_hrl.pipeline import Pipeline
from step_hrl.recipes import load_recipe
from step_hrl.training.loop import LENGTH_MULTIPLE

EPISODES = 120
UPDATES = 20


def main() -> None:
    """Print the table."""
    path, *overrides = sys.argv[1:] or ["recipes/quickstart.yaml"]
    recipe = load_recipe(Path(path), overrides)
    config = recipe.behavior_cloning
    episodes = Pipeline(recipe, Console(stderr=True)).demonstrations.load()
    chosen = random.Random(0).sample(episodes, min(EPISODES, len(episodes)))
    found = deduplicate(transition for episode in chosen for transition in transitions(episode))
    backbone = backbones.load(recipe.backbone, seed=0).train()
    tokens = tokenize([t for t in found if t.clone_mask], backbone.tokenizer, config.max_tokens_per_sample)
    singly: list[Sample] = sorted(((each,) for each in tokens), key=lambda sample: len(sample[0]))
    shared = samples_by_beginning(tokens)
    ways: dict[str, tuple[list[Sample], Callable[[Backbone, list[Sample]], torch.Tensor]]] = {
        "one row a decision": (singly, loss_of_rows),
        "shared beginnings once": (shared, loss_of_trees),
    }
    table = Table("", "tokens", "decisions/s", "tokens/s", "ratio")
    speeds = measure(backbone, ways, config.tokens_per_batch)
    first = next(iter(speeds.values()))[0]
    for name, (decisions, rate) in speeds.items():
        read = sum(map(size_of, ways[name][0]))
        table.add_row(name, str(read), f"{decisions:.2f}", f"{rate:.0f}", f"{decisions / first:.2f}")
    Console().print(table)


def measure(backbone: Backbone, ways, tokens: int) -> dict[str, tuple[float, float]]:  # pyright: ignore
    """Decisions and tokens a second of each way, over alternating updates."""
    totals = {name: torch.zeros(3, dtype=torch.double) for name in ways}  # decisions, tokens, seconds
    plans = {name: cycle(batches(samples, tokens)) for name, (samples, _) in ways.items()}
    for update in range(UPDATES + 2):
        for name, (samples, loss) in ways.items():
            chosen = [samples[index] for index in next(plans[name])]
            start = time.perf_counter()
            with backbone.autocast("auto"):
                value = loss(backbone, chosen)
            value.backward()
            if backbone.device.type == "cuda":
                torch.cuda.synchronize()  # until then, the work is only queued
            seconds = time.perf_counter() - start
            if update > 1:  # the first ones compile kernels
                totals[name] += torch.tensor([sum(map(len, chosen)), sum(map(size_of, chosen)), seconds])
    return {name: (float(each[0] / each[2]), float(each[1] / each[2])) for name, each in totals.items()}


def batches(samples: Sequence[Sample], tokens: int) -> list[tuple[int, ...]]:
    """Shuffled batches; samples of one decision, which are sorted by length, stay beside those of similar length."""
    if max(map(len, samples)) > 1:
        return batches_of([*map(size_of, samples)], tokens, 0, 0)
    groups: list[tuple[int, ...]] = []
    first = 0
    for index, sample in enumerate(samples):
        if (index + 1 - first) * rounded(len(sample[0]), LENGTH_MULTIPLE) > tokens:
            groups.append(tuple(range(first, index)))
            first = index
    random.Random(0).shuffle(groups)
    return [group for group in groups if group]


def loss_of_trees(backbone: Backbone, samples: list[Sample]) -> torch.Tensor:
    """The mean loss of a batch of prefix trees."""
    batch = collate(samples, backbone.tokenizer.pad, LENGTH_MULTIPLE).to(backbone.device)
    return -utterance_log_likelihood(backbone.score(batch).log_probs, batch.utterance_mask).mean()


def loss_of_rows(backbone: Backbone, samples: list[Sample]) -> torch.Tensor:
    """The mean loss of a batch of one row a decision, padded on the right, with the model's own causal mask."""
    rows = [[*transition.state, *transition.utterance] for sample in samples for transition in sample]
    length = rounded(max(map(len, rows)), LENGTH_MULTIPLE)
    ids = torch.tensor([row + [backbone.tokenizer.pad] * (length - len(row)) for row in rows])
    mask = torch.tensor([[len(t.state) <= index < len(t) for index in range(length)] for (t,) in samples])
    hidden = backbone.decoder(input_ids=ids.to(backbone.device), use_cache=False).last_hidden_state
    inside = mask[:, 1:]
    logits = backbone.logits(hidden[:, :-1][inside.to(backbone.device)])
    loss = torch.nn.functional.cross_entropy(logits, ids[:, 1:][inside].to(backbone.device), reduction="none")
    log_probs = torch.zeros(inside.shape, device=loss.device).masked_scatter(inside.to(loss.device), -loss)
    return -utterance_log_likelihood(log_probs, inside.to(loss.device)).mean()


if __name__ == "__main__":
    main()
