"""Metrics of episodes: scores with confidence intervals, token counts and failure rates.

Pure except for :func:`write_summary` and :func:`read_summary`. Scores are in [0, 1]; tables print them in [0, 100].
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.markup import escape
from rich.table import Table

from step_hrl.data.codec import from_json, to_json
from step_hrl.errors import DataError
from step_hrl.runs.files import write_atomically
from step_hrl.types import Episode, Role

SUMMARY_VERSION = 2
"""Version of the summary file; it increases whenever a field changes meaning."""

CONFIDENCE = 0.95
_BLOCK_VALUES = 1_000_000


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95% bootstrap interval (percentiles; Efron 1979) of a mean score."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Figures:
    """The metrics of a group of episodes. Shares and rates are in [0, 1].

    ``failure_rate`` is the share of episodes with an error; they count in ``mean_score`` with the score they reached.
    ``mean_steps`` counts actions. ``tokens_per_step`` is prompt plus completion tokens by role, divided by all actions;
    ``longest_prompt_tokens`` is the longest prompt of a single decision. ``invalid_action_share`` is a share of the
    actions (which include unreadable replies), ``unreadable_share`` of the replies of all three roles.
    """

    episodes: int
    mean_score: float
    mean_score_interval: Interval
    failure_rate: float
    success_rate: float
    mean_steps: float
    tokens_per_step: Mapping[str, float]
    total_tokens_per_step: float
    longest_prompt_tokens: int
    invalid_action_share: float
    unreadable_share: float


@dataclass(frozen=True, slots=True)
class Summary:
    """The metrics of an evaluation, overall and by task name.

    ``overall.mean_score`` is the mean over episodes, which weights tasks by their number of episodes;
    ``mean_score_over_tasks`` is the mean of the tasks' means, which weights all tasks equally.
    """

    overall: Figures
    mean_score_over_tasks: float
    mean_score_over_tasks_interval: Interval
    by_task: Mapping[str, Figures]
    splits: tuple[str, ...]
    bootstrap_seed: int
    bootstrap_resamples: int

    def as_dict(self) -> dict[str, Any]:
        """Return the summary as plain JSON values."""
        return to_json(self)


def summarize(episodes: Iterable[Episode], *, seed: int, resamples: int = 2000) -> Summary:
    """Summarize episodes, failed ones included.

    ``seed`` and ``resamples`` are the bootstrap's; intervals do not depend on the order of the episodes. Episodes are
    resampled as if independent; for the mean over tasks, within each task. Raises
    :class:`~step_hrl.errors.DataError` where there are no episodes.
    """
    played = list(episodes)
    if not played:
        raise DataError("evaluation", "no episodes", "play at least one before summarizing")
    groups: dict[str, list[Episode]] = {}
    for episode in played:
        groups.setdefault(episode.task.name, []).append(episode)
    by_task = {name: _figures(groups[name], seed, resamples) for name in sorted(groups)}
    task_means = [
        _resampled_means(groups[name], np.random.default_rng([seed, index]), resamples)
        for index, name in enumerate(by_task)
    ]
    return Summary(
        overall=_figures(played, seed, resamples),
        mean_score_over_tasks=_ratio(sum(figures.mean_score for figures in by_task.values()), len(by_task)),
        mean_score_over_tasks_interval=_interval(np.mean(task_means, axis=0)),
        by_task=by_task,
        splits=tuple(sorted({episode.task.split for episode in played})),
        bootstrap_seed=seed,
        bootstrap_resamples=resamples,
    )


def table(summaries: Mapping[str, Summary]) -> Table:
    """A table of summaries, one column each under its name; scores and shares in [0, 100].

    The overall rows come first, then the mean score of each task with the numbers of its episodes and failures.
    """
    columns = list(summaries.values())
    result = Table(title="Scores out of 100, with 95% bootstrap intervals", title_justify="left")
    result.add_column("", overflow="fold")
    for name in summaries:
        result.add_column(escape(name), justify="right")
    for row in overview(columns):
        result.add_row(*map(escape, row))
    result.add_section()
    for row in by_task(columns):
        result.add_row(*map(escape, row))
    return result


def overview(summaries: Sequence[Summary]) -> list[tuple[str, ...]]:
    """The overall metrics, one row each: its label, then a cell for each summary."""
    return [(label, *map(cell, summaries)) for label, cell in _ROWS]


def by_task(summaries: Sequence[Summary]) -> list[tuple[str, ...]]:
    """The tasks' mean scores, one row each: the task's name, then a cell for each summary."""
    tasks = sorted({task for summary in summaries for task in summary.by_task})
    return [(task, *(_task_cell(summary.by_task.get(task)) for summary in summaries)) for task in tasks]


def write_summary(
    path: Path,
    summary: Summary,
    provenance: Mapping[str, str],
    value_rank_correlation: Mapping[str, float] | None = None,
) -> None:
    """Write a summary as JSON, atomically, with its provenance.

    ``value_rank_correlation`` is that of V(s) with the return to go, by role, for a policy with critics.

    Raises :class:`~step_hrl.errors.DataError` where it cannot be written.
    """
    content = {"summary_version": SUMMARY_VERSION, "provenance": dict(provenance), **summary.as_dict()}
    if value_rank_correlation is not None:
        content["value_rank_correlation"] = dict(value_rank_correlation)
    write_atomically(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_summary(path: Path) -> tuple[Summary, dict[str, str]]:
    """Read a summary and its provenance.

    Raises :class:`~step_hrl.errors.DataError` for a file that is missing, damaged or of another version.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content["summary_version"] != SUMMARY_VERSION:
            raise ValueError(f"summary_version {content['summary_version']}")
        summary = from_json(Summary, {field.name: content[field.name] for field in fields(Summary)})
        return summary, from_json(dict[str, str], content["provenance"])
    except (OSError, ValueError, KeyError, TypeError, DataError) as error:
        reason = " ".join(str(error).split())
        raise DataError(str(path), f"no summary ({reason})", "run `step-hrl eval` again") from error


def _figures(episodes: Sequence[Episode], seed: int, resamples: int) -> Figures:
    steps = sum(len(episode.steps) for episode in episodes)
    tokens = _tokens_by_role(episodes)
    replies, unreadable = _replies(episodes)
    return Figures(
        episodes=len(episodes),
        mean_score=_ratio(sum(episode.score for episode in episodes), len(episodes)),
        mean_score_interval=_interval(_resampled_means(episodes, np.random.default_rng(seed), resamples)),
        failure_rate=_ratio(sum(episode.error is not None for episode in episodes), len(episodes)),
        success_rate=_ratio(sum(episode.success for episode in episodes), len(episodes)),
        mean_steps=_ratio(steps, len(episodes)),
        tokens_per_step={role.value: _ratio(count, steps) for role, count in tokens.items()},
        total_tokens_per_step=_ratio(sum(tokens.values()), steps),
        longest_prompt_tokens=max(map(_longest_prompt, episodes)),
        invalid_action_share=_ratio(
            sum(not step.is_valid_action for episode in episodes for step in episode.steps), steps
        ),
        unreadable_share=_ratio(unreadable, replies),
    )


def _ratio(part: float, whole: int) -> float:
    return part / whole if whole else 0.0


def _tokens_by_role(episodes: Iterable[Episode]) -> dict[Role, int]:
    totals = dict.fromkeys(Role, 0)
    for episode in episodes:
        for role, usage in episode.usages.items():
            totals[role] += usage.total
    return totals


def _longest_prompt(episode: Episode) -> int:
    high = (segment.usage.prompt_tokens for segment in episode.segments)
    others = (usage.prompt_tokens for step in episode.steps for usage in step.usages.values())
    return max([0, *high, *others])


def _replies(episodes: Iterable[Episode]) -> tuple[int, int]:
    """The number of replies, and of those that could not be parsed. Only roles that the agent asked have replies."""
    replies = unreadable = 0
    for episode in episodes:
        for segment in episode.segments:
            is_unreadable = segment.unreadable is not None
            replies += is_unreadable or segment.usage.total > 0
            unreadable += is_unreadable
        for step in episode.steps:
            raw_replies = {Role.LOW: step.unreadable, Role.PROGRESS: step.progress_unreadable}
            unreadable_roles = {role for role, text in raw_replies.items() if text is not None}
            replies += len(step.usages.keys() | unreadable_roles)
            unreadable += len(unreadable_roles)
    return replies, unreadable


def _resampled_means(
    episodes: Sequence[Episode], generator: np.random.Generator, resamples: int
) -> NDArray[np.float64]:
    """Mean scores of ``resamples`` bootstrap samples: shape (resamples,)."""
    scores = np.sort(np.array([episode.score for episode in episodes], dtype=np.float64))
    rows = max(1, _BLOCK_VALUES // len(scores))
    blocks = [
        scores[generator.integers(len(scores), size=(min(rows, resamples - start), len(scores)))].mean(axis=1)
        for start in range(0, resamples, rows)
    ]
    return np.concatenate(blocks)


def _interval(means: NDArray[np.float64]) -> Interval:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(low), float(high))


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _with_interval(mean: float, interval: Interval) -> str:
    return f"{_percent(mean)} ({_percent(interval.low)} to {_percent(interval.high)})"


def _tokens(role: Role) -> Callable[[Summary], str]:
    return lambda summary: f"{summary.overall.tokens_per_step[role.value]:.0f}"


_ROWS: tuple[tuple[str, Callable[[Summary], str]], ...] = (
    ("episodes", lambda s: str(s.overall.episodes)),
    ("split", lambda s: ", ".join(s.splits)),
    ("mean score over episodes", lambda s: _with_interval(s.overall.mean_score, s.overall.mean_score_interval)),
    ("mean score over tasks", lambda s: _with_interval(s.mean_score_over_tasks, s.mean_score_over_tasks_interval)),
    ("failed episodes, %", lambda s: _percent(s.overall.failure_rate)),
    ("success rate, %", lambda s: _percent(s.overall.success_rate)),
    ("actions an episode", lambda s: f"{s.overall.mean_steps:.1f}"),
    ("tokens an action", lambda s: f"{s.overall.total_tokens_per_step:.0f}"),
    ("  of the high level", _tokens(Role.HIGH)),
    ("  of the low level", _tokens(Role.LOW)),
    ("  of the local progress", _tokens(Role.PROGRESS)),
    ("longest prompt, tokens", lambda s: str(s.overall.longest_prompt_tokens)),
    ("invalid actions, %", lambda s: _percent(s.overall.invalid_action_share)),
    ("unreadable replies, %", lambda s: _percent(s.overall.unreadable_share)),
)


def _task_cell(figures: Figures | None) -> str:
    if figures is None:
        return "-"
    failed = round(figures.failure_rate * figures.episodes)
    return f"{_percent(figures.mean_score)} (n={figures.episodes}{f', {failed} failed' if failed else ''})"
