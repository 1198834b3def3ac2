"""A few of the faults of ``make faults``, each injected at a time drawn from a seed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.fault_harness import check_recovery, reference_run
from tests.faults.scenarios import SCENARIOS

pytestmark = pytest.mark.slow


def test_a_run_with_faults_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    scenario = SCENARIOS["both stages, pantry"]
    reference, duration = reference_run(tmp_path / "reference", scenario)
    assert len(reference.weights) == 3, "two policies and the critics of one"
    assert sum(map(len, reference.episodes.values())) == 20 + 8 + 2 * 8
    faults = ["SIGTERM", "worker killed", "kill -9", "full disk"]
    check_recovery(tmp_path / "faults", scenario, 0, faults, reference, duration)


def test_a_run_recovers_when_its_model_server_does(tmp_path: Path) -> None:
    pytest.importorskip("openai", reason="needs the api extra")
    scenario = SCENARIOS["model server"]
    reference, duration = reference_run(tmp_path / "reference", scenario)
    assert sum(map(len, reference.episodes.values())) == 40
    faults = ["server killed", "server replies malformed"]
    check_recovery(tmp_path / "faults", scenario, 0, faults, reference, duration)
