"""One process at a time works in a run's folder; a second one is refused and told which."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.cli.test_main import PANTRY
from tests.command import COMMAND

from step_hrl.errors import DataError
from step_hrl.runs.lock import HOLDER_FILE, RunLock

HOLD = """
import sys, time
from pathlib import Path
from step_hrl.runs.lock import RunLock
with RunLock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "runs/small"


def hold(folder: Path) -> subprocess.Popen[str]:
    """Start another process that holds the folder's lock."""
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_a_second_process_is_refused_and_told_which_holds_the_lock(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(PANTRY)
    holder = hold(folder)
    for words in (["run"], ["demos"], ["train", "bc"], ["collect"]):
        command = [*COMMAND, *words, "small.yaml"]
        second = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert second.returncode == 2, second.stderr
        assert second.stderr.startswith(f"step-hrl: runs/small: process {holder.pid} on ")
        assert "is using it; wait for it to end, or give this run another folder: output=..." in second.stderr
        assert second.stderr.count("\n") == 1
    holder.kill()
    holder.wait()


def test_a_waiting_process_continues_once_the_first_has_ended(folder: Path) -> None:
    holder = hold(folder)
    threading.Timer(0.5, holder.kill).start()
    with RunLock(folder, waits=True):
        assert holder.wait() == -signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_dead_process_holds_no_lock(folder: Path, number: int) -> None:
    holder = hold(folder)
    with pytest.raises(DataError, match=f"process {holder.pid} on "), RunLock(folder):
        pass
    holder.send_signal(number)
    holder.wait()
    with RunLock(folder):
        assert f'"process": {os.getpid()}' in (folder / HOLDER_FILE).read_text()
    assert not (folder / HOLDER_FILE).exists()


def test_the_holder_may_enter_again(folder: Path) -> None:
    lock = RunLock(folder)
    with lock:
        with lock:
            pass
        with pytest.raises(DataError, match=f"process {os.getpid()} on "), RunLock(folder):
            pass
    with RunLock(folder):
        pass


def test_a_folder_that_cannot_be_created_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"), RunLock(tmp_path / "file" / "run"):
        pass


def test_an_unreadable_holder_file_means_another_process(folder: Path) -> None:
    with RunLock(folder):
        (folder / HOLDER_FILE).write_text("{")
        with pytest.raises(DataError, match="another process is using it"), RunLock(folder):
            pass
