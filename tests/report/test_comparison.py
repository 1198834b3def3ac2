from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from step_hrl.errors import DataError
from step_hrl.evaluation import Interval
from step_hrl.models.cost import Prices, Shape, multiply_adds
from step_hrl.report import plots, tables
from step_hrl.report.comparison import Compared, Played, TaskFigures, WallTime, compare, interval, prompts_by_step
from step_hrl.types import NOTHING, Episode, Observation, Role, Segment, Step, Task, Usage

SEEN = Observation("")


def step(low: int, progress: int | None = None) -> Step:
    usages = {Role.LOW: Usage(low, 0, 2)} | ({} if progress is None else {Role.PROGRESS: Usage(progress, 0, 3)})
    return Step(SEEN, NOTHING, "go", False, 0.0, SEEN, NOTHING, usages=usages)


def segment(named: int, *steps: Step) -> Segment:
    return Segment("g", (), NOTHING, SEEN, steps, "policy", usage=Usage(named, 0, 1) if named else Usage())


def episode(variation: int, score: float, *segments: Segment) -> Episode:
    task = Task("w", "t", variation, "dev")
    return Episode(f"e{variation}", task, segments, score, score == 1.0)


def played(*scores: tuple[float, ...]) -> Played:
    only = segment(10, step(20, 30))
    return {seed: [episode(task, score, only) for task, score in enumerate(row)] for seed, row in enumerate(scores)}


def test_tokens_are_counted_step_by_step() -> None:
    example = episode(0, 1.0, segment(10, step(20, 30), step(21, 31)), segment(11, step(22)))
    assert prompts_by_step(example) == [60, 52, 33]
    [found] = compare({"a": {0: [example]}}).values()
    assert found.prompt_tokens_by_step == (60.0, 52.0, 33.0)
    assert found.longest_prompt_tokens == 31
    # Two subtasks of one token, three actions of two, two progress texts of three.
    assert found.tokens_per_episode == 145 + 2 + 6 + 6
    assert found.tokens_per_action == pytest.approx(159 / 3)


def test_an_episodes_cost_is_the_sum_over_its_decisions() -> None:
    example = episode(0, 1.0, segment(10, step(20, 30)))
    shape, prices = Shape(4, 2, 8, 2, 1, 2, 50), Prices(prompt=1.0, cached=0.1, completion=10.0)
    [found] = compare({"a": {0: [example]}}, {"a": shape}, prices).values()
    spent = (Usage(10, 0, 1), Usage(20, 0, 2), Usage(30, 0, 3))
    assert found.multiply_adds_per_episode == sum(multiply_adds(shape, usage) for usage in spent)
    assert found.price_per_episode == pytest.approx((60 + 6 * 10) / 1e6)
    [plain] = compare({"a": {0: [example]}}).values()
    assert (plain.multiply_adds_per_episode, plain.price_per_episode) == (None, None)


def test_decisions_on_a_cut_transcript_are_counted() -> None:
    example = episode(0, 1.0, segment(0, *(replace(step(10), dropped=count) for count in (None, 0, 2, 3))))
    [found] = compare({"a": {0: [example]}}).values()
    assert found.cut_share == 0.5


def test_training_tokens_and_wall_times_are_shown_where_they_are_known() -> None:
    both = {"a": played((0.5,)), "b": played((1.0,))}
    found = compare(both, training_tokens={"a": 1_500_000}, wall_times={"a": WallTime(90.0, 2.5)})
    assert tables.markdown(found).splitlines()[2].endswith("| 1.5 | 1.5 | 2.5 |")
    assert tables.markdown(found).splitlines()[3].endswith("| - | - | - |")


def test_means_by_step_are_over_the_episodes_that_reach_it() -> None:
    long, short = episode(0, 0.0, segment(0, step(10), step(20))), episode(1, 0.0, segment(0, step(30)))
    [found] = compare({"a": {0: [long, short]}}).values()
    assert found.prompt_tokens_by_step == (20.0, 20.0)


def test_agents_are_compared_task_by_task_and_seed_by_seed() -> None:
    found = compare({"a": played((0.5, 1.0), (0.0, 0.5)), "b": played((1.0, 1.0), (0.5, 1.0))})
    assert found["a"].difference == 0.0
    assert found["a"].difference_interval == Interval(0.0, 0.0)
    assert (found["b"].score, found["b"].difference) == (0.875, 0.375)
    assert found["b"].success_rate == 0.75
    assert found["b"].episodes == 4


def test_the_order_of_episodes_does_not_matter() -> None:
    scores = played((0.5, 1.0, 0.25), (0.0, 0.5, 0.75))
    reordered = {seed: list(reversed(list(episodes))) for seed, episodes in scores.items()}
    assert compare({"a": scores, "b": reordered})["b"].difference_interval == Interval(0.0, 0.0)


@pytest.mark.parametrize("others", [played((0.5,)), played((0.5, 1.0), (1.0, 1.0)), {7: played((0.5, 1.0))[0]}])
def test_unequal_comparisons_are_refused(others: Played) -> None:
    with pytest.raises(DataError, match="comparison: b: other tasks or seeds than a"):
        compare({"a": played((0.5, 1.0)), "b": others})


def test_tasks_that_differ_between_seeds_are_refused() -> None:
    uneven = {0: played((0.5, 1.0))[0], 1: played((0.5,))[0]}
    with pytest.raises(DataError, match="other tasks"):
        compare({"a": uneven, "b": uneven})


def test_intervals_cover_the_variance_of_seeds_and_tasks() -> None:
    assert interval(np.full((3, 5), 0.4), 0) == Interval(pytest.approx(0.4), pytest.approx(0.4))
    # Two seeds without any overlap: bootstrap means range from the one to the other.
    assert interval(np.array([[0.0] * 50, [1.0] * 50]), 0) == Interval(0.0, 1.0)
    many = interval(np.random.default_rng(0).random((5, 400)), 0)
    assert 0.45 < many.low < 0.5 < many.high < 0.55


@pytest.fixture
def compared() -> dict[str, Compared]:
    return compare({"step_hrl": played((0.5, 1.0)), "flat": played((0.0, 0.5))})


def test_the_markdown_table(compared: dict[str, Compared]) -> None:
    interval = Interval(-0.5, -0.5)
    assert compared["flat"].difference_interval == interval
    first, _, one, other = tables.markdown(compared).splitlines()
    assert first.startswith("| agent | episodes | score | difference | success, % |")
    assert "| step_hrl | 2 | 75.0 (50.0 to 100.0) | - | 50.0 |" in one
    assert "| flat | 2 | 25.0 (0.0 to 50.0) | -50.0 (-50.0 to -50.0) | 0.0 |" in other


def test_the_terminal_table_fits_80_characters(compared: dict[str, Compared]) -> None:
    output = io.StringIO()
    agents = {"no_local_progress": compared["step_hrl"], "flat": replace(compared["flat"], tokens_per_episode=112345.6)}
    Console(file=output, width=80).print(tables.terminal(agents, "dev"))
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in output.getvalue().splitlines()]
    assert ["no_local_progress", "75.0 (50.0 to 100.0)", "-", "66"] in rows
    assert ["flat", "25.0 (0.0 to 50.0)", "-50.0 (-50.0 to -50.0)", "112346"] in rows


def test_tasks_are_ordered_by_length(compared: dict[str, Compared]) -> None:
    assert compared["flat"].by_task == {"t": TaskFigures(2, 0.25, 66.0)}
    other = replace(compared["flat"], by_task={"t": TaskFigures(1, 0.5, 2000.0), "a": TaskFigures(1, 1.0, 90.0)})
    assert tables.markdown_by_task({"x": other}, {"t": 3.0, "a": 12.5}).splitlines() == [
        "| task | expert's actions | x |",
        "| --- | --- | --- |",
        "| t | 3.0 | 50.0 / 2.0k |",
        "| a | 12.5 | 100.0 / 0.1k |",
    ]


def test_an_agent_with_no_difference_is_not_taken_for_the_first(compared: dict[str, Compared]) -> None:
    twin = replace(compared["step_hrl"], difference_interval=Interval(0.0, 0.0))
    assert "| - |" in tables.markdown({"twin": twin})


def test_plots_are_drawn(compared: dict[str, Compared], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="needs the report extra")
    written = plots.draw(compared, {"t": 7.5}, tmp_path, "dev")
    drawn = ("prompt-tokens", "score-per-token", "score-by-length", "tokens-by-length")
    assert {path.name for path in written} == {f"{name}-dev.{kind}" for name in drawn for kind in ("png", "svg")}
    assert all(path.stat().st_size > 1000 for path in written)
