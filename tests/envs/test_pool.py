"""Workers that fail to start, and the child processes of workers."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from tests.scripted import CountingEnv, CountingFactory, CountingWorld

from step_hrl.envs.pool import Reply, WorkerPool
from step_hrl.errors import WorldError

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


@dataclass(frozen=True)
class FragileWorld(CountingWorld):
    """Fails to create its first few environments; each try appends a line to a file."""

    tries: Path
    failures: int

    def open(self) -> CountingFactory:
        return FragileFactory(self.tries, self.failures)


class FragileFactory(CountingFactory):
    def __init__(self, tries: Path, failures: int) -> None:
        self._tries, self._failures = tries, failures

    def env(self) -> CountingEnv:
        with self._tries.open("a") as file:
            file.write("tried\n")
        if len(self._tries.read_text().splitlines()) <= self._failures:
            raise RuntimeError("the simulator is gone")
        return CountingEnv()


@dataclass(frozen=True)
class HelpedWorld(CountingWorld):
    """Starts a child process that is suspended, as a simulator may be."""

    note: Path

    def open(self) -> CountingFactory:
        helper = subprocess.Popen(SLEEP)
        psutil.Process(helper.pid).suspend()
        self.note.write_text(str(helper.pid))
        return CountingFactory()


def first_replies(pool: WorkerPool) -> list[Reply]:
    """The replies to a command of a new pool; the command is repeated if its worker is lost."""
    world = CountingWorld()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        slot = pool.acquire()
        assert slot is not None
        pool.reset(slot, world.tasks("train")[0], 0)
        while not (replies := pool.poll(1.0)) and time.monotonic() < deadline:
            pass
        if all(reply.error is None for reply in replies):
            return replies
    raise TimeoutError


def test_a_world_that_fails_to_open_once_is_opened_again(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    world = FragileWorld(tmp_path / "tries", failures=1)
    with WorkerPool(world, workers=1, simulators_per_worker=1, max_episode_steps=3) as pool:
        (reply,) = first_replies(pool)
        assert reply.result is not None
        assert pool.restarts == 1
    assert capfd.readouterr().err == ""


def test_a_world_that_never_opens_is_an_error_with_its_cause(tmp_path: Path) -> None:
    world = FragileWorld(tmp_path / "tries", failures=9)
    with (
        WorkerPool(world, workers=1, simulators_per_worker=1, max_episode_steps=3) as pool,
        pytest.raises(WorldError, match=r"cannot be started \(RuntimeError: the simulator is gone\)"),
    ):
        first_replies(pool)
    assert (tmp_path / "tries").read_text().count("tried") == 3


def test_child_processes_end_with_their_worker(tmp_path: Path) -> None:
    world = HelpedWorld(tmp_path / "helper")
    with WorkerPool(world, workers=1, simulators_per_worker=1, max_episode_steps=3, step_timeout_seconds=2) as pool:
        first_replies(pool)
        slot = pool.acquire()
        assert slot is None
        helper = psutil.Process(int((tmp_path / "helper").read_text()))
        psutil.Process(pool.process_ids[0]).kill()
        while not pool.restarts:
            pool.poll(0.1)
        gone, alive = psutil.wait_procs([helper], timeout=10)
        assert (gone, alive) == ([helper], [])
    psutil.Process(int((tmp_path / "helper").read_text())).kill()
