"""How long work shows that it moves: a bar with rate and time left on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Item = TypeVar("Item")

QUIET_SECONDS = 15.0
"""Where there is no terminal, the shortest time between two lines."""
QUIET_SHARE = 0.1
"""The share of the time so far that also passes between them: work of hours is told in tens of lines."""
LONGEST_QUIET_SECONDS = 300.0
"""But no longer."""


class Reporter:
    """Counts units of work towards a total. A context manager; ``start`` units were already there."""

    def __init__(self, console: Console, label: str, total: int, *, start: int = 0, unit: str = "episodes") -> None:
        self._console = console
        self._label = label
        self._total = total
        self._start = start
        self._done = start
        self._unit = unit
        self._note = ""
        self._began = time.monotonic()
        self._spoke = self._began
        self._bar = self._make_bar() if _redraws(console) else None

    def __enter__(self) -> Reporter:
        self._began = self._spoke = time.monotonic()
        if self._bar:
            self._bar.start()
        elif self._start:
            self._say(f"{self._label}: {self._start} of {self._total} {self._unit} are already there")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()
        elif kind is None:
            self._speak()

    def advance(self, units: int = 1, note: str = "") -> None:
        """Count work done; ``note`` is shown beside the rate."""
        self._done += units
        self._note = note or self._note
        if self._bar:
            rate = f"{self._rate():.1f} {self._unit}/s {self._note}"
            self._bar.update(self._bar.task_ids[0], advance=units, rate=rate)
        elif time.monotonic() - self._spoke >= self._pause():
            self._speak()

    def each(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield items, and count each as done when the next one is asked for."""
        for item in items:
            yield item
            self.advance()

    def _pause(self) -> float:
        return max(QUIET_SECONDS, min(QUIET_SHARE * (time.monotonic() - self._began), LONGEST_QUIET_SECONDS))

    def _rate(self) -> float:
        return (self._done - self._start) / max(1e-9, time.monotonic() - self._began)

    def _speak(self) -> None:
        self._spoke = time.monotonic()
        rate = self._rate()
        left = (self._total - self._done) / rate if rate > 0 else 0.0
        self._say(
            f"{self._label}: {self._done}/{self._total} {self._unit}, {rate:.2f}/s, {left:.0f} s left {self._note}"
        )

    def _say(self, line: str) -> None:
        # Never folded: one thing said is one line, however narrow a file is taken to be.
        self._console.print(line.rstrip(), markup=False, highlight=False, soft_wrap=True)

    def _make_bar(self) -> Progress:
        bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}", markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
        )
        bar.add_task(self._label, total=self._total, completed=self._start, rate="")
        return bar


def _redraws(console: Console) -> bool:
    """Whether a bar can be drawn over itself: on a terminal, but not a dumb one.

    Nor in a file, even where ``FORCE_COLOR`` makes rich take it for a terminal.
    """
    return console.is_interactive and console.file.isatty()
