"""Estimate the cost of agents on a server with a prefix cache, for finished cells of a comparison.

    .venv/bin/python experiments/prefix_cache.py test runs/scienceworld-compare/seed*/*

The engine in this process reads every prompt from its start. Servers with a prefix cache reuse keys and values up to
the first token that differs from all earlier prompts, which saves most for growing transcripts. This script renders
each prompt of a split's episodes again and counts as cached the longest prefix that it shares with an earlier prompt of
the same role in the same episode. It prints means over episodes by agent: tokens and multiply-adds, in total and
without the cached tokens.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from rich.console import Console
from rich.table import Table
from transformers import AutoTokenizer

from step_hrl.agents.registry import agent_for
from step_hrl.data.transitions import trust_policy
from step_hrl.models.cost import Shape, multiply_adds
from step_hrl.models.prefix_rows import common_prefix
from step_hrl.models.tokenization import LineTokenizer
from step_hrl.pipeline import Pipeline
from step_hrl.recipes import load_recipe
from step_hrl.runs.layout import RECIPE_FILE
from step_hrl.types import Role, Usage


def main() -> None:
    """Print the table."""
    if len(sys.argv) < 3:
        sys.exit("usage: prefix_cache.py SPLIT CELL [CELL ...]")
    split, cells = sys.argv[1], [Path(argument) for argument in sys.argv[2:]]
    costs: dict[str, list[tuple[int, int, int, int]]] = defaultdict(list)
    for cell in cells:
        if (cell / RECIPE_FILE).is_file():
            costs[cell.name] += episodes_of(cell, split)
    table = Table("agent", "episodes", "tokens", "uncached", "multiply-adds, 10^9", "uncached")
    for agent, rows in costs.items():
        tokens, uncached, operations, uncached_operations = (mean(column) for column in zip(*rows, strict=True))
        figures = (f"{tokens:.0f}", f"{uncached:.0f}", f"{operations / 1e9:.1f}", f"{uncached_operations / 1e9:.1f}")
        table.add_row(agent, str(len(rows)), *figures)
    Console().print(table)


def episodes_of(cell: Path, split: str) -> list[tuple[int, int, int, int]]:
    """Each episode's tokens, uncached tokens, multiply-adds and uncached multiply-adds."""
    recipe = load_recipe(cell / RECIPE_FILE, [f"output={cell}"])
    pipeline, agent = Pipeline(recipe, Console(stderr=True)), agent_for(recipe.agent)
    hf = AutoTokenizer.from_pretrained(pipeline.policy_folder)
    tokenizer, shape = LineTokenizer(hf, recipe.backbone.prompt_format), Shape.read(pipeline.policy_folder)
    costs: list[tuple[int, int, int, int]] = []
    for episode in pipeline.evaluation(split, pipeline.policy_folder).load():
        transitions = agent.transitions(episode, trust_policy)
        prompts = tokenizer.encode_prompts([transition.state for transition in transitions])
        total = sum(episode.usages.values(), Usage())
        if (rendered := sum(map(len, prompts))) != total.prompt_tokens:
            sys.exit(f"{cell}: {episode.id}: rendered {rendered} prompt tokens, recorded {total.prompt_tokens}")
        completion = round(total.completion_tokens / len(prompts))
        usages = [
            Usage(len(prompt), cached, completion)
            for prompt, cached in zip(prompts, cached_of(prompts, [t.role for t in transitions]), strict=True)
        ]
        operations = sum(multiply_adds(shape, Usage(usage.prompt_tokens, 0, completion)) for usage in usages)
        uncached = total.total - sum(usage.cached_tokens for usage in usages)
        costs.append((total.total, uncached, operations, sum(multiply_adds(shape, usage) for usage in usages)))
    return costs


def cached_of(prompts: Sequence[Sequence[int]], roles: Sequence[Role]) -> list[int]:
    """Length of the longest prefix, without the last token, that each prompt shares with an earlier one of its role.

    >>> cached_of([[1, 2, 3], [1, 2, 4], [1, 2, 3, 4], [1, 2]], [Role.LOW] * 4)
    [0, 2, 3, 1]
    """
    read: dict[Role, list[Sequence[int]]] = defaultdict(list)
    cached: list[int] = []
    for prompt, role in zip(prompts, roles, strict=True):
        shared = max((common_prefix(prompt, earlier) for earlier in read[role]), default=0)
        cached.append(min(shared, len(prompt) - 1))
        read[role].append(prompt)
    return cached


if __name__ == "__main__":
    main()
