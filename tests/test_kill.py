"""A stage that is killed resumes, and ends with the weights of an uninterrupted run."""

from __future__ import annotations

import shutil
import signal
import time
from pathlib import Path

import pytest

from step_hrl.runs import manifest
from tests.cli.test_main import PANTRY
from tests.command import finish, start

STAGE_2 = """\
collection: {per_task: 2}
offline_rl: {epochs: 2, learning_rate: 0.01, critic_warmup: 2, checkpoint_every: 4, tokens_per_batch: 1024}
"""


@pytest.mark.slow
def test_stage_2_killed_twice_ends_with_the_same_weights(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(PANTRY + STAGE_2)
    for words in (("demos",), ("train", "bc"), ("collect",)):
        finish(tmp_path, *words, "small.yaml")
    shutil.copytree(tmp_path / "runs/small", tmp_path / "runs/reference")
    stage = tmp_path / "runs/small/offline_rl/round-1"
    for kills in (1, 2):
        running = start(tmp_path, "train", "rl", "small.yaml")
        while newest(stage) < 4 * kills:
            assert running.poll() is None, "training ended before it could be killed"
            time.sleep(0.01)
        running.send_signal(signal.SIGKILL)
        running.wait()
        assert not (stage / "policy").exists()
    finish(tmp_path, "train", "rl", "small.yaml")
    finish(tmp_path, "train", "rl", "small.yaml", "output=runs/reference")
    for name in ("model.safetensors", "critics.safetensors"):
        ended, reference = (
            tmp_path / "runs" / run / "offline_rl/round-1/policy" / name for run in ("small", "reference")
        )
        assert manifest.digest_file(ended) == manifest.digest_file(reference)


def newest(stage: Path) -> int:
    return max((int(path.name.removeprefix("checkpoint-")) for path in stage.glob("checkpoint-*")), default=0)
