"""Compares agents by their episodes on the same tasks and seeds. Pure.

Differences are paired by task and seed. Intervals resample both tasks and seeds, because scores vary with either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from step_hrl.errors import DataError
from step_hrl.evaluation import CONFIDENCE, Interval
from step_hrl.models.cost import Prices, Shape, multiply_adds
from step_hrl.types import Episode, Role, Usage

RESAMPLES = 2000

Played = Mapping[int, Sequence[Episode]]
"""An agent's episodes by seed."""


@dataclass(frozen=True, slots=True)
class TaskFigures:
    """An agent's mean score and tokens on one task, over its variations and all seeds."""

    episodes: int
    score: float
    tokens_per_episode: float


@dataclass(frozen=True, slots=True)
class WallTime:
    """Wall time in seconds, mean over seeds: of the whole training, and of playing per episode.

    Other load on the machine is included.
    """

    training: float
    playing: float


@dataclass(frozen=True, slots=True)
class Compared:
    """An agent's figures on one split. Scores and shares are in [0, 1], tokens are prompt plus completion.

    ``difference`` is the mean difference to the first agent's scores, paired by task and seed (0 for the first agent).
    ``prompt_tokens_by_step`` is, for each step, the mean over episodes of the tokens of all its prompts. ``cut_share``
    is the share of actions whose transcript had lost its oldest steps. ``training_tokens`` counts the padded tokens of
    all training stages of one seed; it and ``wall_time`` are None if they were not measured.
    """

    episodes: int
    score: float
    score_interval: Interval
    difference: float
    difference_interval: Interval
    success_rate: float
    failure_rate: float
    actions: float
    tokens_per_action: float
    tokens_per_episode: float
    longest_prompt_tokens: int
    cut_share: float
    prompt_tokens_by_step: tuple[float, ...]
    by_task: Mapping[str, TaskFigures]
    multiply_adds_per_episode: float | None = None
    price_per_episode: float | None = None
    training_tokens: int | None = None
    wall_time: WallTime | None = None


def compare(
    agents: Mapping[str, Played],
    shapes: Mapping[str, Shape] | None = None,
    prices: Prices | None = None,
    training_tokens: Mapping[str, int] | None = None,
    wall_times: Mapping[str, WallTime] | None = None,
    seed: int = 0,
) -> dict[str, Compared]:
    """Compare all agents with the first one.

    Args:
        agents: Each agent's episodes by seed.
        shapes: Backbones of the agents whose multiply-adds are estimated.
        prices: Of tokens, to compute the price per episode.
        training_tokens: Padded tokens of all training stages, by agent.
        wall_times: By agent.
        seed: Of the bootstrap.

    Raises:
        DataError: An agent played other tasks or seeds than the first.
    """
    names = list(agents)
    played_first = {seed: _tasks(episodes) for seed, episodes in agents[names[0]].items()}
    tasks = next(iter(played_first.values()))
    compared: dict[str, Compared] = {}
    baseline: NDArray[np.float64] | None = None
    for name in names:
        if {seed: _tasks(episodes) for seed, episodes in agents[name].items()} != dict.fromkeys(played_first, tasks):
            raise DataError(f"comparison: {name}", f"other tasks or seeds than {names[0]}", "run `step-hrl compare`")
        scores = _scores(agents[name])
        baseline = scores if baseline is None else baseline
        episodes = [episode for played in agents[name].values() for episode in played]
        actions = sum(len(episode.steps) for episode in episodes)
        tokens = sum(map(_tokens, episodes))
        by_step = [prompts_by_step(episode) for episode in episodes]
        each = [usage for episode in episodes for usage in decisions(episode)]
        shape = shapes.get(name) if shapes else None
        compared[name] = Compared(
            episodes=len(episodes),
            score=float(scores.mean()),
            score_interval=interval(scores, seed),
            difference=float((scores - baseline).mean()),
            difference_interval=interval(scores - baseline, seed),
            success_rate=sum(episode.success for episode in episodes) / len(episodes),
            failure_rate=sum(episode.error is not None for episode in episodes) / len(episodes),
            actions=actions / len(episodes),
            tokens_per_action=tokens / max(1, actions),
            tokens_per_episode=tokens / len(episodes),
            longest_prompt_tokens=max((usage.prompt_tokens for usage in each), default=0),
            cut_share=sum(bool(step.dropped) for e in episodes for step in e.steps) / max(1, actions),
            prompt_tokens_by_step=_means(by_step),
            by_task=_by_task(episodes),
            multiply_adds_per_episode=sum(multiply_adds(shape, u) for u in each) / len(episodes) if shape else None,
            price_per_episode=sum(map(prices.of, each)) / len(episodes) if prices else None,
            training_tokens=training_tokens.get(name) if training_tokens else None,
            wall_time=wall_times.get(name) if wall_times else None,
        )
    return compared


def interval(values: NDArray[np.float64], seed: int) -> Interval:
    """95% bootstrap interval of the mean of (seeds, tasks) values; both are drawn with replacement."""
    generator = np.random.default_rng(seed)
    seeds, tasks = values.shape
    means = [
        values[generator.integers(seeds, size=seeds)][:, generator.integers(tasks, size=tasks)].mean()
        for _ in range(RESAMPLES)
    ]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(low), float(high))


def decisions(episode: Episode) -> list[Usage]:
    """The tokens of each decision, in order."""
    return [
        usage
        for segment in episode.segments
        for usage in (segment.usage, *(usage for step in segment.steps for usage in step.usages.values()))
    ]


def prompts_by_step(episode: Episode) -> list[int]:
    """Prompt tokens of each step: the low level's, the subtask's named before it, and the progress update's."""
    tokens: list[int] = []
    for segment in episode.segments:
        named = segment.usage.prompt_tokens
        for step in segment.steps:
            tokens.append(named + sum(step.usages[role].prompt_tokens for role in Role if role in step.usages))
            named = 0
    return tokens


def _tokens(episode: Episode) -> int:
    return sum(usage.total for usage in episode.usages.values())


def _by_task(episodes: Sequence[Episode]) -> dict[str, TaskFigures]:
    groups: dict[str, list[Episode]] = {}
    for episode in episodes:
        groups.setdefault(episode.task.name, []).append(episode)
    return {
        name: TaskFigures(
            len(group),
            sum(episode.score for episode in group) / len(group),
            sum(map(_tokens, group)) / len(group),
        )
        for name, group in sorted(groups.items())
    }


def _scores(played: Played) -> NDArray[np.float64]:
    """Final scores, (seeds, tasks), both sorted."""
    return np.array([[e.score for e in sorted(played[seed], key=_key)] for seed in sorted(played)], dtype=np.float64)


def _tasks(episodes: Sequence[Episode]) -> list[str]:
    return sorted(map(_key, episodes))


def _key(episode: Episode) -> str:
    return f"{episode.task.split}/{episode.task.key}"


def _means(rows: Sequence[Sequence[int]]) -> tuple[float, ...]:
    """Column means of rows of different lengths, each over the rows that have the column."""
    longest = max(map(len, rows), default=0)
    columns = ([row[n] for row in rows if len(row) > n] for n in range(longest))
    return tuple(sum(column) / len(column) for column in columns)
