"""The audit of demonstrations, by hand-computed example."""

from __future__ import annotations

from dataclasses import replace

import pytest

from step_hrl.experts.audit import audit
from step_hrl.types import Episode, Observation, Segment, Step, Task


def shown(name: str, variation: int, actions: list[str], kinds: str, success: bool = True) -> Episode:
    """One subtask; every observation is the same, the progress tells how many actions were taken."""
    steps = tuple(
        Step(Observation("o"), f"p{n}", action, n == len(actions) - 1, 0.0, Observation("o"), f"p{n + 1}")
        for n, action in enumerate(actions)
    )
    segment = Segment("g", (), "None", Observation("o"), steps, "policy")
    facts = {"subtask_kinds": kinds, "path": "canonical"}
    return Episode(f"{name}{variation}", Task("w", name, variation, "train", "c"), (segment,), 1.0, success, 0, facts)


def test_figures_by_hand() -> None:
    episodes = [
        shown("a", 0, ["x", "y"], "find,other"),
        shown("a", 1, ["x", "z"], "find", success=False),
        shown("b", 0, ["x"], "find"),
    ]
    report = audit(episodes)
    first = report.by_task["a"]
    assert (first.paths, first.solved, first.mean_actions, first.subtasks) == (2, 0.5, 2.0, 3)
    assert first.other_subtasks == pytest.approx(1 / 3)
    # Low-level prompts of task a: p0 (always x) and p1 (y or z): one of two is ambiguous.
    assert first.ambiguous["low"] == 0.5
    assert first.ambiguous["high"] == 0.0
    assert report.by_task["b"].ambiguous["low"] == 0.0
    # Over both tasks p0 is also answered by "x; True" in task b.
    assert report.overall.ambiguous["low"] == 1.0
    assert report.overall.paths_kept == {"canonical": 3}


def test_a_failed_demonstration_counts() -> None:
    broken = replace(shown("a", 0, ["x"], "", success=False), segments=(), provenance={}, error="worker: died")
    report = audit([broken])
    assert (report.overall.paths, report.overall.solved, report.overall.paths_kept) == (1, 0.0, {"failed": 1})
