"""What would agents cost on a server that keeps what it has read? For cells of a comparison that were played already.

    .venv/bin/python experiments/prefix_cache.py test runs/scienceworld-compare/seed*/*

The engine in this process reads every prompt from its beginning. Many servers keep keys and values of what they have
read, and go on where a prompt differs from all before it, which saves most where a growing transcript is read. Here
each prompt of a split's episodes is written out again, and what it begins with counts as cached where a prompt of the
same role in the same episode began so. Printed by agent, means over episodes: tokens, tokens that are left to be read
or said, and multiply-adds of all of them and of what is left.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from statistics import mean

from rich.console import Console
from rich.table import Table
from transformers import AutoTokenizer

from step_hrl.agents.registry import agent_for
from step_hrl.data.transitions import trust_policy
from step_hrl.models.cost import Shape, multiply_adds
from step_hrl.models.tokenization import LineTokenizer
from step_hrl.pipeline import Pipeline
from step_hrl.recipes import load_recipe
from step_hrl.runs.layout import RECIPE_FILE
from step_hrl.types import Role, Usage


def main() -> None:
    """Count, print."""
    if len(sys.argv) < 3:
        sys.exit("usage: prefix_cache.py SPLIT CELL [CELL ...]")
    split, cells = sys.argv[1], [Path(word) for word in sys.argv[2:]]
    costs: dict[str, list[tuple[int, int, int, int]]] = defaultdict(list)
    for cell in cells:
        if (cell / RECIPE_FILE).is_file():
            costs[cell.name] += episodes_of(cell, split)
    table = Table("agent", "episodes", "tokens", "left", "multiply-adds, 10^9", "left")
    for agent, found in costs.items():
        tokens, left, everything, rest = (mean(column) for column in zip(*found, strict=True))
        table.add_row(
            agent, str(len(found)), f"{tokens:.0f}", f"{left:.0f}", f"{everything / 1e9:.1f}", f"{rest / 1e9:.1f}"
        )
    Console().print(table)


def episodes_of(cell: Path, split: str) -> list[tuple[int, int, int, int]]:
    """Of each episode: tokens, tokens left, multiply-adds, multiply-adds left."""
    recipe = load_recipe(cell / RECIPE_FILE, [f"output={cell}"])
    pipeline, agent = Pipeline(recipe, Console(stderr=True)), agent_for(recipe.agent)
    hf = AutoTokenizer.from_pretrained(pipeline.policy_folder)
    tokenizer, shape = LineTokenizer(hf, recipe.backbone.prompt_format), Shape.read(pipeline.policy_folder)
    costs: list[tuple[int, int, int, int]] = []
    for episode in pipeline.evaluation(split, pipeline.policy_folder).load():
        asked = agent.transitions(episode, trust_policy)
        prompts = tokenizer.encode_prompts([transition.state for transition in asked])
        total = sum(episode.usages.values(), Usage())
        if (found := sum(map(len, prompts))) != total.prompt_tokens:
            sys.exit(f"{cell}: {episode.id}: {found} tokens written out again, {total.prompt_tokens} read")
        said = round(total.completion_tokens / len(prompts))
        usages = [
            Usage(len(prompt), cached, said)
            for prompt, cached in zip(prompts, cached_of(prompts, [t.role for t in asked]), strict=True)
        ]
        everything = sum(multiply_adds(shape, Usage(usage.prompt_tokens, 0, said)) for usage in usages)
        left = total.total - sum(usage.cached_tokens for usage in usages)
        costs.append((total.total, left, everything, sum(multiply_adds(shape, usage) for usage in usages)))
    return costs


def cached_of(prompts: Sequence[Sequence[int]], roles: Sequence[Role]) -> list[int]:
    """How many tokens of each prompt, but for its last, an earlier one of the same role began with.

    >>> cached_of([[1, 2, 3], [1, 2, 4], [1, 2, 3, 4], [1, 2]], [Role.LOW] * 4)
    [0, 2, 3, 1]
    """
    read: dict[Role, list[Sequence[int]]] = defaultdict(list)
    cached: list[int] = []
    for prompt, role in zip(prompts, roles, strict=True):
        same = max((_same_beginning(prompt, old) for old in read[role]), default=0)
        cached.append(min(same, len(prompt) - 1))
        read[role].append(prompt)
    return cached


def _same_beginning(one: Sequence[int], other: Sequence[int]) -> int:
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


if __name__ == "__main__":
    main()
