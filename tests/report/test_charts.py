"""The tables behind a page's charts, against values computed by hand."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from step_hrl.report import charts
from step_hrl.training.value_estimates import ValueEstimate, from_line, to_lines
from step_hrl.types import NOTHING, Episode, Observation, Role, Segment, Step, Task, Usage

SEEN = Observation("")


def step(action: str, is_valid_action: bool = True, **tokens: int) -> Step:
    usages = {Role(role): Usage(count, 0, 1) for role, count in tokens.items()}
    return Step(SEEN, NOTHING, action, False, 0.0, SEEN, NOTHING, is_valid_action=is_valid_action, usages=usages)


def episode(success: bool, *segments: tuple[int, tuple[Step, ...]]) -> Episode:
    taken = tuple(Segment("g", (), NOTHING, SEEN, steps, "policy", usage=Usage(high, 0, 1)) for high, steps in segments)
    return Episode("e", Task("w", "t", 0, "dev"), taken, float(success), success)


def test_prompt_tokens_are_means_over_the_prompts_of_a_step() -> None:
    long = episode(True, (10, (step("a", low=20, progress=30), step("b", low=22))), (14, (step("c", low=24),)))
    short = episode(True, (12, (step("a", low=30),)))
    chart = charts.prompt_tokens([long, short], "dev")
    assert chart.header == ("action", "high", "low", "progress")
    assert chart.rows == (("1", "11", "25", "30"), ("2", "", "22", ""), ("3", "14", "24", ""))


def test_unsolved_episodes_are_counted_by_their_most_frequent_invalid_action() -> None:
    played = [
        episode(False, (1, (step("take a", False), step("go to b", False), step("take a", False)))),
        episode(False, (1, (step("take c", False),))),
        episode(False, (1, (step("look"),))),
        episode(True, (1, (step("open d", False),))),
    ]
    assert charts.refusals({"dev": played}).rows == (("take", "2"), ("(no invalid action)", "1"))


def test_endings_are_shares() -> None:
    rows = dict(charts.endings({"dev": [episode(True), episode(True), episode(False)]}).rows)
    assert (rows["success"], rows["failure"], rows["error"]) == ("66.7", "33.3", "0.0")


def test_lengths_are_counted_in_groups() -> None:
    played = [episode(True, (1, (step("a"),) * count)) for count in (1, 2, 30)]
    rows = charts.lengths({"dev": played}).rows
    assert rows[0] == ("0 to 2", "2")
    assert rows[-1] == ("30 to 32", "1")


def test_learning_curves_are_tables_by_update() -> None:
    lines: list[Mapping[str, float]] = [
        {"update": 20, "loss": 1.0},
        {"update": 40, "loss": 0.5, "validation/loss_low": 2.0},
    ]
    chart = charts.learning("behavior_cloning", lines, "validation/loss", "Loss")
    assert chart is not None
    assert (chart.header, chart.rows) == (("update", "loss_low"), (("40", "2"),))
    assert charts.learning("behavior_cloning", lines, "q_loss", "Loss") is None


def test_value_estimates_are_compared_with_returns() -> None:
    estimates = [ValueEstimate("e", "low", number, number / 10, 0.0, number / 20) for number in range(20)]
    chart = charts.calibration("offline_rl/round-1", estimates)
    assert chart.rows[0] == ("low (rank correlation 1.00)", "0.050", "0.025")
    assert len(chart.rows) == 10


@pytest.mark.parametrize("name", ["a $x^2$ b", "<script>", "x" * 200, "\u4e2d"])
def test_any_name_can_be_drawn(name: str) -> None:
    pytest.importorskip("matplotlib", reason="needs the report extra")
    svg = charts.endings({name: [episode(True)]}).svg
    assert svg is not None
    assert "<script>" not in svg
    assert "var(--series-3)" in svg
    assert "var(--neutral)" in svg
    assert "#0000" not in svg


def test_value_estimates_round_trip_and_other_lines_are_refused() -> None:
    estimate = ValueEstimate("e", "low", 3, 0.25, -0.5, 1.0)
    assert from_line(to_lines([estimate])) == estimate
    for line in ("", "[]", "{}", to_lines([estimate]).replace("0.25", '"x"')):
        with pytest.raises(ValueError, match=r"not a value estimate|Expecting value"):
            from_line(line)
