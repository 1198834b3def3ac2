"""Jobs of a collection round, and the collected episodes that stage 2 refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from step_hrl.config import CollectionConfig
from step_hrl.errors import DataError
from step_hrl.stages.collection import TOKENIZER, check_rewards, check_tokenizer, collection_jobs, endings_table
from step_hrl.types import Episode, Observation, Segment, Step, Task

FILE = Path("round-1/episodes.jsonl")
TASKS = [Task("w", "t", variation, "train") for variation in range(3)]


def episode(*rewards: float, truncated: bool = False) -> Episode:
    steps = tuple(
        Step(Observation("o"), "None", "act", False, reward, Observation("o"), "p", truncated=truncated)
        for reward in rewards
    )
    segment = Segment("s", (), "None", Observation("o"), steps, "limit" if truncated else "episode")
    return Episode("e", TASKS[0], (segment,), sum(rewards), sum(rewards) == 1, provenance={TOKENIZER: "abc"})


def test_rounds_and_repeats_have_distinct_jobs() -> None:
    config = CollectionConfig(repeats=2)
    first, second = (collection_jobs(TASKS, config, 7, number) for number in (1, 2))
    assert len({job.id for job in (*first, *second)}) == 12
    assert first == collection_jobs(TASKS, config, 7, 1)


def test_wrong_rewards_and_another_tokenizer_are_refused() -> None:
    sound = [episode(0.5, 0.5), episode(0.25, -0.25)]
    check_rewards(FILE, sound)
    check_tokenizer(FILE, sound, "abc")
    with pytest.raises(DataError, match=r"episodes.jsonl: episode e.*tokenizer abc, the policy to train has other"):
        check_tokenizer(FILE, [episode(1.0)], "other")
    with pytest.raises(DataError, match=r"episode e: rewards add up to 0, but the score is 1"):
        check_rewards(FILE, [replace(episode(0.0), score=1.0)])
    with pytest.raises(DataError, match="rewards add up to nan"):
        check_rewards(FILE, [episode(float("nan"))])


def test_an_episode_with_an_error_may_have_another_score_than_its_rewards() -> None:
    check_rewards(FILE, [replace(episode(0.25), score=0.0, error="worker lost")])


def test_endings_are_counted_for_each_task() -> None:
    cut = episode(0.25, truncated=True)
    unreadable = replace(cut, segments=(replace(cut.segments[0], steps=(), ended_by="unreadable"),), score=0.0)
    episodes = [episode(1.0), episode(0.5), cut, unreadable, replace(cut, error="lost")]
    assert [e.ending for e in episodes] == ["success", "failure", "limit", "unreadable", "error"]
    console = Console(width=120, record=True, quiet=True)
    console.quiet = False
    with console.capture() as printed:
        console.print(endings_table(episodes))
    row = next(line for line in printed.get().splitlines() if line.strip("│ ").startswith("all"))
    assert [cell.strip() for cell in row.strip("│").split("│")] == ["all", "5", "40.0", "20", "20", "20", "20", "20"]
