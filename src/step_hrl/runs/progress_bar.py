"""Progress of long work: a bar with rate and remaining time on a terminal, occasional lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Item = TypeVar("Item")

MIN_INTERVAL_SECONDS = 15.0
"""Shortest time between two lines."""
INTERVAL_SHARE = 0.1
"""Share of the elapsed time between two lines, so that hours of work print tens of lines."""
MAX_INTERVAL_SECONDS = 300.0
"""Longest time between two lines."""


class ProgressBar:
    """Counts units of work toward a total, of which ``start`` are already done. A context manager."""

    def __init__(self, console: Console, label: str, total: int, *, start: int = 0, unit: str = "episodes") -> None:
        self._console = console
        self._label = label
        self._total = total
        self._start = start
        self._done = start
        self._unit = unit
        self._note = ""
        self._started = time.monotonic()
        self._last_line = self._started
        self._bar = self._make_bar() if _redraws(console) else None

    def __enter__(self) -> ProgressBar:
        self._started = self._last_line = time.monotonic()
        if self._bar:
            self._bar.start()
        elif self._start:
            self._print(f"{self._label}: {self._start} of {self._total} {self._unit} already done")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()
        elif kind is None:
            self._print_status()

    def advance(self, units: int = 1, note: str = "") -> None:
        """Count work done; ``note`` is shown beside the rate."""
        self._done += units
        self._note = note or self._note
        if self._bar:
            rate = f"{self._rate():.1f} {self._unit}/s {self._note}"
            self._bar.update(self._bar.task_ids[0], advance=units, rate=rate)
        elif time.monotonic() - self._last_line >= self._interval():
            self._print_status()

    def each(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield items; each counts as done when the next one is requested."""
        for item in items:
            yield item
            self.advance()

    def _interval(self) -> float:
        return max(MIN_INTERVAL_SECONDS, min(INTERVAL_SHARE * (time.monotonic() - self._started), MAX_INTERVAL_SECONDS))

    def _rate(self) -> float:
        return (self._done - self._start) / max(1e-9, time.monotonic() - self._started)

    def _print_status(self) -> None:
        self._last_line = time.monotonic()
        rate = self._rate()
        left = (self._total - self._done) / rate if rate > 0 else 0.0
        self._print(
            f"{self._label}: {self._done}/{self._total} {self._unit}, {rate:.2f}/s, {left:.0f} s left {self._note}"
        )

    def _print(self, line: str) -> None:
        # Not wrapped: a status is one line, whatever width rich assumes for a file.
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
    """Whether a bar can be redrawn: not on a dumb terminal, nor in a file that ``FORCE_COLOR`` makes interactive."""
    return console.is_interactive and console.file.isatty()
