"""The audit of demonstrations against figures computed by hand."""

from __future__ import annotations

from dataclasses import replace

from step_hrl.experts.audit import as_plain, audit, table
from step_hrl.types import Episode, Observation, Role, Segment, Step, Task


def demonstration(name: str, variation: int, actions: list[str], success: bool = True) -> Episode:
    """One subtask; observations are equal, and the progress counts the actions taken."""
    steps = tuple(
        Step(Observation("o"), f"p{n}", action, n == len(actions) - 1, 0.0, Observation("o"), f"p{n + 1}")
        for n, action in enumerate(actions)
    )
    segment = Segment("g", (), "None", Observation("o"), steps, "policy")
    facts = {"path": "rules"}
    return Episode(f"{name}{variation}", Task("w", name, variation, "train", "c"), (segment,), 1.0, success, 0, facts)


def test_figures_match_values_computed_by_hand() -> None:
    report = audit(
        [
            demonstration("a", 0, ["x", "y"]),
            demonstration("a", 1, ["x", "z"], success=False),
            demonstration("b", 0, ["x"]),
        ]
    )
    first = report["a"]
    assert (first.episodes, first.success_share, first.mean_actions, first.most_actions) == (2, 0.5, 2.0, 2)
    # Low-level prompts of task a: p0 (always x) and p1 (y or z): one of two has two answers.
    assert first.conflicts[Role.LOW] == 0.5
    assert first.conflicts[Role.HIGH] == 0.0
    assert report["b"].conflicts[Role.LOW] == 0.0
    # Over both tasks p0 is also answered by "x; True" in task b.
    assert report["all"].conflicts[Role.LOW] == 1.0
    assert report["all"].paths == {"rules": 3}


def test_failed_demonstrations_are_counted() -> None:
    broken = replace(demonstration("a", 0, ["x"], success=False), segments=(), provenance={}, error="worker: died")
    report = audit([broken])["all"]
    assert (report.episodes, report.success_share, report.paths) == (1, 0.0, {"unknown": 1})


def test_noise_actions_are_not_conflicts() -> None:
    clean, noisy = demonstration("a", 0, ["x", "y"]), demonstration("a", 1, ["z", "y"])
    segment = noisy.segments[0]
    steps = (replace(segment.steps[0], is_noise=True), segment.steps[1])
    noisy = replace(noisy, segments=(replace(segment, steps=steps),))
    assert audit([clean, noisy])["a"].conflicts[Role.LOW] == 0.0
    assert audit([clean, demonstration("a", 1, ["z", "y"])])["a"].conflicts[Role.LOW] == 0.5


def test_an_audit_converts_to_plain_data_and_to_a_table() -> None:
    report = audit([demonstration("a", 0, ["x"])])
    assert as_plain(report)["a"]["conflicts"] == {"high": 0.0, "low": 0.0, "progress": 0.0}
    assert table(report).row_count == 2


def test_the_audit_of_no_demonstrations_is_empty() -> None:
    assert audit([]) == {}
