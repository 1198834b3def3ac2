"""The faults. Each is injected into a running command and returns when that command has ended, successfully or not."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

import psutil

from step_hrl.runs.layout import EPISODES_FILE, STAGES
from tests.faults.endpoint import Behavior, Endpoint
from tests.faults.fault_harness import Fault, FaultHarness

JUMPING_CLOCK = """\
import random, time
_time = time.time
time.time = lambda: _time() + random.choice([-1e7, 0.0, 1e7])
"""


def kill_main(harness: FaultHarness) -> None:
    """``kill -9`` of the main process."""
    harness.main_process.kill()
    harness.expect([-signal.SIGKILL])


def send_signal(number: signal.Signals) -> Fault:
    """A signal that asks the command to stop."""

    def fault(harness: FaultHarness) -> None:
        _send(harness, number)
        # While Python starts, before the command has installed its handler, a signal has its default effect.
        harness.expect([128 + number, -number])

    return fault


def interrupt_twice(harness: FaultHarness) -> None:
    """Ctrl-C, and Ctrl-C again within half a second."""
    _send(harness, signal.SIGINT)
    time.sleep(harness.draw.uniform(0, 0.5))
    _send(harness, signal.SIGINT)
    harness.expect([130, -signal.SIGINT])


def kill_child(word: str, *codes: int) -> Fault:
    """``kill -9`` of a process with this word in its command line; the run may then end with one of these codes."""

    def fault(harness: FaultHarness) -> None:
        if child := harness.child(word):
            with suppress(psutil.NoSuchProcess):
                child.kill()
        harness.expect(codes)

    return fault


def hang_child(word: str) -> Fault:
    """Suspend a process with this word in its command line."""

    def fault(harness: FaultHarness) -> None:
        if child := harness.child(word):
            with suppress(psutil.NoSuchProcess):
                child.suspend()
        harness.expect([])

    return fault


def fill_disk(harness: FaultHarness) -> None:
    """Restart with a limit on the size of files, as on a disk that fills up."""
    kill_main(harness)
    harness.size_limit = round(2 ** harness.draw.uniform(9, 18))
    harness.start()
    harness.expect([2])
    harness.size_limit = None


def block_folder(harness: FaultHarness) -> None:
    """Restart with a file in the place of a stage's folder."""
    kill_main(harness)
    free = [harness.run / stage for stage in STAGES if not (harness.run / stage).exists()]
    place = harness.draw.choice(free) if free else None
    if place:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("in the way")
    harness.start()
    harness.expect([2] if place else [])
    if place:
        place.unlink()


def tear_line(harness: FaultHarness) -> None:
    """Cut short the last line of an episode file, as a power cut does."""
    kill_main(harness)
    files = [file for file in harness.run.glob(f"**/{EPISODES_FILE}") if file.stat().st_size]
    if files:
        file = harness.draw.choice(files)
        content = file.read_bytes()
        start = content.rstrip(b"\n").rfind(b"\n") + 1
        file.write_bytes(content[: harness.draw.randrange(start, len(content))])


def jumping_clock(harness: FaultHarness) -> None:
    """Restart with a wall clock that jumps by months, in all processes."""
    kill_main(harness)
    folder = harness.folder / "clock"
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(JUMPING_CLOCK)
    # Before the folders that were there, which may hold the package.
    harness.environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    harness.start()
    harness.expect([])
    del harness.environment["PYTHONPATH"]


def kill_endpoint(harness: FaultHarness) -> None:
    """Stop the model server until the command has ended."""
    _endpoint(harness).stop()
    harness.expect([2])
    _endpoint(harness).start()


def hang_endpoint(harness: FaultHarness) -> None:
    """Suspend the model server, which still accepts connections, until the command has ended."""
    _endpoint(harness).hang()
    harness.expect([2])
    _endpoint(harness).resume()


def endpoint_behaves(behavior: Behavior, *codes: int) -> Fault:
    """Let the model server misbehave until the command has ended."""

    def fault(harness: FaultHarness) -> None:
        _endpoint(harness).behave(behavior)
        harness.expect(codes)
        _endpoint(harness).behave(Behavior.NORMAL)

    return fault


def _send(harness: FaultHarness, number: signal.Signals) -> None:
    """Ctrl-C reaches every process that the terminal's command has started, other signals the command alone."""
    with suppress(ProcessLookupError):
        if number is signal.SIGINT:
            os.killpg(harness.main_process.pid, number)
        else:
            harness.main_process.send_signal(number)


def _endpoint(harness: FaultHarness) -> Endpoint:
    assert harness.endpoint is not None, "the scenario has no model server"
    return harness.endpoint
