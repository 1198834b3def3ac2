"""Ctrl-C and SIGTERM ask long work to stop where it can go on later; asked a second time, it stops at once."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(BaseException):
    """Work ended because it was asked to; everything finished is kept. ``signal`` is what asked.

    No error, and not to be taken for one: whoever catches those lets it pass.
    """

    def __init__(self, number: int) -> None:
        super().__init__(int(number))
        self.signal = int(number)


_asked: int | None = None


def ask(number: int = signal.SIGTERM) -> None:
    """Ask for a stop, as a signal does."""
    global _asked
    _asked = number


def asked() -> bool:
    """Whether somebody has asked for a stop: begin nothing new."""
    return _asked is not None


def stopped() -> Stopped:
    """What to raise once nothing is under way any more."""
    return Stopped(signal.SIGTERM if _asked is None else _asked)


@contextmanager
def listening() -> Generator[None]:
    """Take both signals as a request to stop, for as long as this lasts; only a main thread can."""
    global _asked
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _hear) for number in _SIGNALS}
    try:
        yield
    finally:
        _asked = None
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def unheard() -> Generator[None]:
    """Processes started meanwhile never hear of Ctrl-C, which a terminal sends to all; this one does, afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _hear(number: int, frame: FrameType | None) -> None:
    if _asked is not None:
        raise Stopped(number)
    ask(number)
    print("\nstopping once what is under way is finished; again stops at once", file=sys.stderr, flush=True)
