"""What a person sees while training: a bar on a terminal, a few lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 30.0


class TrainingProgress:
    """Shows updates done, loss, rate and time left. Shows nothing where ``shown`` is False."""

    def __init__(self, label: str, updates: int, done: int, shown: bool, console: Console | None = None) -> None:
        """Prepare to show ``updates`` updates, of which ``done`` are done."""
        self._label = label
        self._updates = updates
        self._shown = shown
        self._console = console or Console(stderr=True)
        self._begun_at = done
        self._begun = self._last_line = time.monotonic()
        self._bar: Progress | None = None
        if shown and self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[figures]}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._task = self._bar.add_task(label, total=updates, completed=done, figures="")

    def __enter__(self) -> TrainingProgress:
        """Begin to show."""
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop showing; the terminal is left clean whatever happened."""
        if self._bar is not None:
            self._bar.stop()

    def advance(self, done: int, figures: str = "") -> None:
        """Show that ``done`` updates are done; ``figures`` stay shown until others come."""
        if not self._shown:
            return
        if self._bar is not None:
            if figures:
                self._bar.update(self._task, completed=done, figures=figures)
            else:
                self._bar.update(self._task, completed=done)
            return
        now = time.monotonic()
        if figures and (now - self._last_line >= SECONDS_BETWEEN_LINES or done == self._updates):
            self._last_line = now
            left = (now - self._begun) / max(1, done - self._begun_at) * (self._updates - done)
            line = f"{self._label}: {done}/{self._updates} updates, {figures}, {left:.0f} s left"
            self._console.print(line, highlight=False, soft_wrap=True)
