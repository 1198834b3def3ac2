from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
import torch
from tests.tiny_model import TINY_CONFIG, transitions, weights
from tests.training.worker_fixtures import (
    exit_in_rank_1,
    kill_rank_1_while_communicating,
    raise_in_rank_1,
    write_environment,
    write_listening_addresses,
)
from transformers import AutoModelForCausalLM

from step_hrl.config import BehaviorCloningConfig, MuonConfig
from step_hrl.errors import DataError, ModelError
from step_hrl.training.behavior_cloning import run
from step_hrl.training.parallel import is_first, launched, run_in_processes


def test_every_process_gets_its_rank_and_the_parents_environment_is_unchanged(tmp_path: Path) -> None:
    before = dict(os.environ)
    run_in_processes(2, write_environment, (tmp_path,))
    assert (tmp_path / "0").read_text() == "2 True True"
    assert (tmp_path / "1").read_text() == "2 True False"
    assert dict(os.environ) == before
    assert not launched()
    assert is_first()


def test_processes_listen_on_the_loopback_interface_only(tmp_path: Path) -> None:
    run_in_processes(2, write_listening_addresses, (tmp_path,))
    addresses = [(tmp_path / rank).read_text().split() for rank in ("0", "1")]
    assert any(addresses), "the processes communicate"
    assert {address for each in addresses for address in each} <= {"127.0.0.1", "::1"}


def test_an_error_in_one_process_ends_all_and_is_raised(tmp_path: Path) -> None:
    begun = time.monotonic()
    with pytest.raises(DataError, match="here: nothing; give something"):
        run_in_processes(2, raise_in_rank_1, (tmp_path,))
    with pytest.raises(ModelError, match=r"process 1 of 2 died \(exit code 7\)"):
        run_in_processes(2, exit_in_rank_1, (tmp_path,))
    assert time.monotonic() - begun < 110


def test_a_killed_process_is_reported_and_the_errors_that_follow_from_it_are_not(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ModelError, match=r"process 1 of 2 died \(exit code -9\)"):
        run_in_processes(2, kill_rank_1_while_communicating, (tmp_path,))
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.slow
def test_two_processes_with_muon_resume_bitwise(tmp_path: Path) -> None:
    config = BehaviorCloningConfig(
        epochs=4,
        learning_rate=0.01,
        optimizer=MuonConfig(),
        tokens_per_batch=512,
        processes=2,
        checkpoint_every=3,
        keep_checkpoints=10,
    )
    whole = run(config, TINY_CONFIG, transitions(), [], tmp_path / "whole", 0)
    first = tmp_path / "whole" / "checkpoint-6"
    assert first.is_dir()
    shutil.copytree(first, tmp_path / "cut" / first.name)
    resumed = run(config, TINY_CONFIG, transitions(), [], tmp_path / "cut", 0)
    one, other = (weights(AutoModelForCausalLM.from_pretrained(folder)) for folder in (whole, resumed))
    assert torch.equal(one, other)
    alone = config.model_copy(update={"processes": 1, "gradient_accumulation": 2})
    third = weights(
        AutoModelForCausalLM.from_pretrained(run(alone, TINY_CONFIG, transitions(), [], tmp_path / "alone", 0))
    )
    torch.testing.assert_close(one, third, rtol=1e-2, atol=1e-3)


@pytest.mark.slow
def test_two_processes_equal_one_with_batches_of_twice_the_size(tmp_path: Path) -> None:
    config = BehaviorCloningConfig(epochs=2, learning_rate=0.01, tokens_per_batch=512, gradient_accumulation=2)
    one = run(config, TINY_CONFIG, transitions(), transitions(9), tmp_path / "one", 0)
    shared = config.model_copy(update={"processes": 2, "gradient_accumulation": 1})
    two = run(shared, TINY_CONFIG, transitions(), transitions(9), tmp_path / "two", 0)
    first, second = (weights(AutoModelForCausalLM.from_pretrained(folder)) for folder in (one, two))
    # The same gradients, summed in another order.
    torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-4)
    counts = [len((tmp_path / name / "metrics.jsonl").read_text().splitlines()) for name in ("one", "two")]
    assert counts[0] == counts[1]
