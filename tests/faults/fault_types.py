"""What may befall a run; each leaves it ended, well or not."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

import psutil

from step_hrl.runs.layout import EPISODES_FILE, STAGES
from tests.faults.endpoint import Conduct, Endpoint
from tests.faults.fault_harness import Fault, Ordeal

JUMPING_CLOCK = """\
import random, time
_time = time.time
time.time = lambda: _time() + random.choice([-1e7, 0.0, 1e7])
"""


def kill_main(ordeal: Ordeal) -> None:
    """``kill -9``."""
    ordeal.under_way.kill()
    ordeal.expect([-signal.SIGKILL])


def ask_to_stop(number: signal.Signals) -> Fault:
    """A signal that asks for an end."""

    def fault(ordeal: Ordeal) -> None:
        _send(ordeal, number)
        # Before the command listens, while Python starts, a signal has its usual effect.
        ordeal.expect([128 + number, -number])

    return fault


def insist(ordeal: Ordeal) -> None:
    """Ctrl-C, and once more."""
    _send(ordeal, signal.SIGINT)
    time.sleep(ordeal.draw.uniform(0, 0.5))
    _send(ordeal, signal.SIGINT)
    ordeal.expect([130, -signal.SIGINT])


def kill_child(word: str, *codes: int) -> Fault:
    """``kill -9`` for a process whose command holds a word; the run may then end with one of some codes."""

    def fault(ordeal: Ordeal) -> None:
        if child := ordeal.child(word):
            with suppress(psutil.NoSuchProcess):
                child.kill()
        ordeal.expect(codes)

    return fault


def hang_child(word: str) -> Fault:
    """Such a process stands still from now on."""

    def fault(ordeal: Ordeal) -> None:
        if child := ordeal.child(word):
            with suppress(psutil.NoSuchProcess):
                child.suspend()
        ordeal.expect([])

    return fault


def fill_disk(ordeal: Ordeal) -> None:
    """Begun again where no file may grow beyond some size."""
    kill_main(ordeal)
    ordeal.size_limit = round(2 ** ordeal.draw.uniform(9, 18))
    ordeal.start()
    ordeal.expect([2])
    ordeal.size_limit = None


def block_folder(ordeal: Ordeal) -> None:
    """Begun again where a file stands in the way of a stage's folder."""
    kill_main(ordeal)
    free = [ordeal.run / stage for stage in STAGES if not (ordeal.run / stage).exists()]
    place = ordeal.draw.choice(free) if free else None
    if place:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("in the way")
    ordeal.start()
    ordeal.expect([2] if place else [])
    if place:
        place.unlink()


def tear_line(ordeal: Ordeal) -> None:
    """What a power cut leaves: the last line of a file of episodes cut short."""
    kill_main(ordeal)
    files = [file for file in ordeal.run.glob(f"**/{EPISODES_FILE}") if file.stat().st_size]
    if files:
        file = ordeal.draw.choice(files)
        content = file.read_bytes()
        start = content.rstrip(b"\n").rfind(b"\n") + 1
        file.write_bytes(content[: ordeal.draw.randrange(start, len(content))])


def jumping_clock(ordeal: Ordeal) -> None:
    """Begun again where every look at the clock may say another year, in all processes."""
    kill_main(ordeal)
    folder = ordeal.folder / "clock"
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(JUMPING_CLOCK)
    ordeal.environment["PYTHONPATH"] = str(folder)
    ordeal.start()
    ordeal.expect([])
    del ordeal.environment["PYTHONPATH"]


def kill_endpoint(ordeal: Ordeal) -> None:
    """The server is gone, and comes back once the run has ended."""
    _endpoint(ordeal).stop()
    ordeal.expect([2])
    _endpoint(ordeal).start()


def hang_endpoint(ordeal: Ordeal) -> None:
    """The server accepts and answers nothing until the run has ended."""
    _endpoint(ordeal).hang()
    ordeal.expect([2])
    _endpoint(ordeal).go_on()


def endpoint_behaves(conduct: Conduct, *codes: int) -> Fault:
    """The server is no good until the run has ended."""

    def fault(ordeal: Ordeal) -> None:
        _endpoint(ordeal).behave(conduct)
        ordeal.expect(codes)
        _endpoint(ordeal).behave(Conduct.HONEST)

    return fault


def _send(ordeal: Ordeal, number: signal.Signals) -> None:
    """Ctrl-C reaches all that a terminal's command has started, other signals the command alone."""
    with suppress(ProcessLookupError):
        if number is signal.SIGINT:
            os.killpg(ordeal.under_way.pid, number)
        else:
            ordeal.under_way.send_signal(number)


def _endpoint(ordeal: Ordeal) -> Endpoint:
    assert ordeal.endpoint is not None, "the course is served"
    return ordeal.endpoint
