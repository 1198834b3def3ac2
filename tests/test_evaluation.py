"""Evaluation figures against values computed by hand."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from step_hrl.errors import DataError
from step_hrl.evaluation import Interval, read_summary, summarize, table, write_summary
from step_hrl.types import Episode, Observation, Role, Segment, Step, Task, Usage

HERE = Observation("here")


def a_step(
    *, is_valid_action: bool = True, unreadable: str | None = None, progress_unreadable: str | None = None
) -> Step:
    usages = {Role.LOW: Usage(40, 10, 5), Role.PROGRESS: Usage(30, 0, 10)}
    return Step(
        HERE, "p", "look", False, 0.0, HERE, "p", is_valid_action,
        unreadable=unreadable, progress_unreadable=progress_unreadable, usages=usages,
    )  # fmt: skip


def an_episode(
    name: str, score: float, steps: Sequence[Step] = (), *, success: bool = False, error: str | None = None
) -> Episode:
    segment = Segment("g", (), "None", HERE, tuple(steps), "policy", usage=Usage(90, 0, 10))
    return Episode("e", Task("pantry", name, 0, "dev"), (segment,), score, success, error=error)


EPISODES = [
    an_episode("boil", 1.0, [a_step()] * 3, success=True),
    an_episode("boil", 0.5, [a_step(), a_step(is_valid_action=False)]),
    an_episode("boil", 0.0, [a_step(is_valid_action=False, unreadable="?")], error="the worker died"),
    an_episode("melt", 0.1, [a_step(progress_unreadable="")] * 4),
]


def test_overall_figures_match_values_computed_by_hand() -> None:
    summary = summarize(EPISODES, seed=0)
    overall = summary.overall
    assert overall.episodes == 4
    assert overall.mean_score == pytest.approx(1.6 / 4)
    assert summary.mean_score_over_tasks == pytest.approx((1.5 / 3 + 0.1) / 2)
    assert overall.success_rate == 1 / 4
    assert overall.failure_rate == 1 / 4
    assert overall.mean_steps == 10 / 4
    # Four subtasks of 100 tokens; ten actions of 45, and ten progress updates of 40.
    assert overall.tokens_per_step == {"high": 40.0, "low": 45.0, "progress": 40.0}
    assert overall.total_tokens_per_step == 125.0
    assert overall.longest_prompt_tokens == 90
    assert overall.invalid_action_share == 2 / 10
    assert overall.unreadable_share == 5 / 24
    assert summary.splits == ("dev",)


def test_figures_are_given_for_each_task() -> None:
    by_task = summarize(EPISODES, seed=0).by_task
    assert list(by_task) == ["boil", "melt"]
    assert (by_task["boil"].episodes, by_task["melt"].episodes) == (3, 1)
    assert by_task["boil"].mean_score == 0.5
    assert by_task["boil"].failure_rate == 1 / 3
    assert by_task["melt"].unreadable_share == 4 / 9
    assert by_task["melt"].mean_score_interval == Interval(0.1, 0.1)


def test_a_failed_episode_counts_with_the_score_it_reached() -> None:
    broken = replace(EPISODES[0], error="lost")
    assert summarize([broken], seed=0).overall.mean_score == 1.0
    assert summarize([broken], seed=0).overall.failure_rate == 1.0


def test_shares_of_an_agent_without_replies_are_0() -> None:
    silent = [replace(EPISODES[0], segments=()), an_episode("boil", 1.0)]
    silent[1] = replace(silent[1], segments=(replace(silent[1].segments[0], usage=Usage()),))
    overall = summarize(silent, seed=0).overall
    assert (overall.unreadable_share, overall.invalid_action_share, overall.total_tokens_per_step) == (0.0, 0.0, 0.0)
    assert overall.longest_prompt_tokens == 0


def test_the_interval_matches_the_known_distribution_of_the_mean() -> None:
    # The mean of 400 coin throws has standard deviation 0.025: 95% of them lie within 0.049 of 0.5.
    coins = [an_episode("coin", float(index % 2)) for index in range(400)]
    interval = summarize(coins, seed=3, resamples=4000).overall.mean_score_interval
    assert interval.low == pytest.approx(0.5 - 1.96 * 0.025, abs=0.005)
    assert interval.high == pytest.approx(0.5 + 1.96 * 0.025, abs=0.005)


def test_the_interval_of_the_mean_over_tasks_resamples_within_tasks() -> None:
    # Tasks with constant scores leave no uncertainty, however much they differ from each other.
    constant = [an_episode("easy", 1.0)] * 5 + [an_episode("hard", 0.0)] * 5
    summary = summarize(constant, seed=0)
    assert summary.mean_score_over_tasks_interval == Interval(0.5, 0.5)
    assert summary.overall.mean_score_interval.low < 0.5 < summary.overall.mean_score_interval.high


def test_intervals_depend_on_the_seed_and_not_on_the_order() -> None:
    scores = np.random.default_rng(0).random(50)
    episodes = [an_episode("t", float(score)) for score in scores]
    first = summarize(episodes, seed=1)
    assert summarize(episodes[::-1], seed=1).overall.mean_score_interval == first.overall.mean_score_interval
    assert summarize(episodes, seed=2).overall.mean_score_interval != first.overall.mean_score_interval
    assert summarize(episodes, seed=1, resamples=10).overall.mean_score_interval != first.overall.mean_score_interval


def test_a_summary_of_no_episodes_is_an_error() -> None:
    with pytest.raises(DataError, match="no episodes"):
        summarize([], seed=0)


def test_the_table_puts_summaries_side_by_side_out_of_100() -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    trained, untrained = summarize(EPISODES, seed=0), summarize([an_episode("[melt]", 0.25)], seed=0)
    console.print(table({"trained [x]": trained, "untrained": untrained}))
    lines = console.export_text().splitlines()

    def cells(start: str) -> list[str]:
        return next(
            [cell.strip() for cell in line.split("│")[2:-1]] for line in lines if line[1:].strip().startswith(start)
        )

    assert any("trained [x]" in line for line in lines)
    assert cells("episodes") == ["4", "1"]
    assert cells("mean score over episodes")[1] == "25.0 (25.0 to 25.0)"
    assert cells("mean score over tasks")[0].startswith("30.0 (")
    assert cells("failed episodes") == ["25.0", "0.0"]
    assert cells("boil") == ["50.0 (n=3, 1 failed)", "-"]
    assert cells("[melt]") == ["-", "25.0 (n=1)"]


def test_a_written_summary_holds_its_provenance(tmp_path: Path) -> None:
    summary = summarize(EPISODES, seed=5)
    write_summary(tmp_path / "summary.json", summary, {"split": "dev", "manifest": "ab12", "java": "17.0.1"})
    written = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert written["provenance"] == {"split": "dev", "manifest": "ab12", "java": "17.0.1"}
    assert written["bootstrap_seed"] == 5
    assert written["overall"]["mean_score"] == pytest.approx(0.4)
    assert written["by_task"]["boil"]["mean_score_interval"]["low"] == summary.by_task["boil"].mean_score_interval.low
    assert written == {**written, **summary.as_dict()}
    assert read_summary(tmp_path / "summary.json") == (summary, written["provenance"])


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"summary_version": 0}', '{"summary_version": 1}'])
def test_a_file_that_is_not_a_summary_is_an_error(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "summary.json").write_text(content)
    with pytest.raises(DataError, match=r"summary\.json: no summary .*; run `step-hrl eval` again"):
        read_summary(tmp_path / "summary.json")
