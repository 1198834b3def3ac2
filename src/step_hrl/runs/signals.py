"""Graceful stop: the first Ctrl-C or SIGTERM requests a stop from which work can resume, the second stops at once."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(BaseException):
    """Work ended because a stop was requested; everything finished is kept. ``signal`` is the signal's number.

    Not an error: it derives from BaseException so that handlers of errors let it pass.
    """

    def __init__(self, number: int) -> None:
        super().__init__(int(number))
        self.signal = int(number)


_requested: int | None = None


def request_stop(number: int = signal.SIGTERM) -> None:
    """Request a stop, as a signal does."""
    global _requested
    _requested = number


def stop_requested() -> bool:
    """Whether a stop was requested: start nothing new."""
    return _requested is not None


def stop_exception() -> Stopped:
    """The exception to raise once everything that was running has ended."""
    return Stopped(signal.SIGTERM if _requested is None else _requested)


@contextmanager
def handle_stop_signals() -> Generator[None]:
    """Handle both signals as stop requests inside the block. Has no effect outside the main thread."""
    global _requested
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _handle) for number in _SIGNALS}
    try:
        yield
    finally:
        _requested = None
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def sigint_blocked() -> Generator[None]:
    """Block SIGINT inside the block: processes started there ignore Ctrl-C, this one receives it afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _handle(number: int, frame: FrameType | None) -> None:
    if _requested is not None:
        raise Stopped(number)
    request_stop(number)
    print("\nstopping once running work has finished; a second signal stops at once", file=sys.stderr, flush=True)
