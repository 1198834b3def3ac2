"""A stage that is killed goes on where it was, and ends as if nothing had happened."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from step_hrl.runs import manifest
from tests.cli.test_main import PANTRY

STAGE_2 = """\
collection: {per_task: 2}
offline_rl: {epochs: 2, learning_rate: 0.01, critic_warmup: 2, checkpoint_every: 4, tokens_per_batch: 1024}
"""
RUN = "import sys; from step_hrl.cli.main import main; sys.argv[0] = 'step-hrl'; main()"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "small.yaml").write_text(PANTRY + STAGE_2)
    return tmp_path


def start(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", RUN, *words], cwd=folder, stderr=subprocess.DEVNULL)


def finish(folder: Path, *words: str) -> None:
    assert start(folder, *words).wait(120) == 0


def test_stage_2_killed_at_any_moment_ends_with_the_same_weights(folder: Path) -> None:
    for words in (("demos",), ("train", "bc"), ("collect",)):
        finish(folder, *words, "small.yaml")
    shutil.copytree(folder / "runs/small", folder / "runs/untouched")
    stage = folder / "runs/small/offline_rl/round-1"
    for seen in (1, 2):
        running = start(folder, "train", "rl", "small.yaml")
        while newest(stage) < 4 * seen:
            assert running.poll() is None, "training ended before it could be killed"
            time.sleep(0.01)
        running.send_signal(signal.SIGKILL)
        running.wait()
        assert not (stage / "policy").exists()
    finish(folder, "train", "rl", "small.yaml")
    finish(folder, "train", "rl", "small.yaml", "output=runs/untouched")
    for name in ("model.safetensors", "critics.safetensors"):
        ended, untouched = (
            folder / "runs" / run / "offline_rl/round-1/policy" / name for run in ("small", "untouched")
        )
        assert manifest.digest_file(ended) == manifest.digest_file(untouched)


def newest(stage: Path) -> int:
    return max((int(path.name.removeprefix("checkpoint-")) for path in stage.glob("checkpoint-*")), default=0)
