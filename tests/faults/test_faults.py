"""A few of the faults of ``make faults``, each at a moment that its seed draws."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.fault_harness import endure, left_alone
from tests.faults.scenarios import COURSES


def test_a_hurt_run_ends_as_one_that_was_left_alone(tmp_path: Path) -> None:
    course = COURSES["both stages, pantry"]
    whole, span = left_alone(tmp_path / "alone", course)
    assert len(whole.weights) == 3, "two policies and the critics of one"
    assert sum(map(len, whole.episodes.values())) == 20 + 8 + 2 * 8
    endure(tmp_path / "hurt", course, 0, ["SIGTERM", "world killed", "kill -9", "full disk"], whole, span)


def test_a_run_outlives_its_server(tmp_path: Path) -> None:
    pytest.importorskip("openai", reason="needs the api extra")
    course = COURSES["a model behind an interface"]
    whole, span = left_alone(tmp_path / "alone", course)
    assert sum(map(len, whole.episodes.values())) == 40
    endure(tmp_path / "hurt", course, 0, ["server killed", "server lies"], whole, span)
