"""A few of the faults of ``make faults``, each at a moment that its seed draws."""

from __future__ import annotations

from pathlib import Path

from tests.faults.ordeal import endure, left_alone


def test_a_hurt_run_ends_as_one_that_was_left_alone(tmp_path: Path) -> None:
    whole, span = left_alone(tmp_path / "alone")
    assert len(whole.weights) == 3, "two policies and the critics of one"
    assert sum(map(len, whole.episodes.values())) == 20 + 8 + 2 * 8
    endure(tmp_path / "hurt", 0, ["SIGTERM", "world killed", "kill -9", "full disk"], whole, span)
