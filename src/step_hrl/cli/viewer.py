"""Shows an episode in the terminal, subtask by subtask and step by step, and reads a person's replies.

Texts of environments, models and people are printed as plain text, without markup or control characters, so that they
cannot color, break or control the terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from importlib import import_module
from types import TracebackType

from rich.console import Console
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from step_hrl.agents.base import Watcher
from step_hrl.prompts.text import clip, one_line
from step_hrl.types import Episode, Step, Task

OBSERVATION_CHARACTERS = 240
"""Longer observations are cut."""

_STYLES = {"spine": "cyan", "dim": "dim", "bad": "red", "good": "green", "strong": "bold"}


class Left(Exception):
    """The user quit the episode; not an error."""


def replay(episode: Episode, watcher: Watcher, before_step: Callable[[], None] = lambda: None) -> None:
    """Send a recorded episode's events to a watcher; ``before_step`` is called before each step and may pause."""
    for index, segment in enumerate(episode.segments):
        watcher.segment_started(episode.task, index, segment.subtask)
        for step in segment.steps:
            before_step()
            watcher.step_taken(episode.task, step)
    watcher.episode_finished(episode)


class LiveView:
    """A :class:`~step_hrl.agents.base.Watcher` that prints an episode while it is played. A context manager.

    Finished steps stay in the terminal or in the output file; a status line below them is redrawn. If several episodes
    run at once, the view follows one until it ends, then the next one that starts.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._live = Live(console=self._console, transient=True)
        self._task: Task | None = None
        self._subtask = ""
        self._actions = 0
        self._score = 0.0
        plain = self._console.options.ascii_only
        self._dot, self._bar, self._end = ("*", "|", "=") if plain else ("●", "│", "◆")

    def __enter__(self) -> LiveView:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    @contextmanager
    def resting(self) -> Generator[None]:
        """Hide the status line while a person types, so that it does not overwrite the input."""
        self._live.stop()
        try:
            yield
        finally:
            self._live.start()

    def show(self, text: str) -> None:
        """Print text verbatim, line by line."""
        for line in text.split("\n"):
            # Soft-wrapped, so that a long line can be copied as one line.
            self._console.print(self._plain(line if line.isprintable() else one_line(line)), soft_wrap=True)

    def erase_line(self) -> None:
        """Erase the last line, if this is a terminal."""
        self._console.control(Control((ControlType.CURSOR_UP, 1), (ControlType.ERASE_IN_LINE, 2)))

    def segment_started(self, task: Task, segment_index: int, subtask: str) -> None:
        """Print the subtask, preceded by the task for the first one of an episode."""
        if not self._follows(task, segment_index):
            return
        if segment_index == 0:
            self._begin(task)
        self._subtask = subtask
        named = self._text(subtask, "strong") if subtask else self._text("(no readable subtask)", "bad")
        self._line(self._dot, str(segment_index + 1), named)
        self._show_status()

    def step_taken(self, task: Task, step: Step) -> None:
        """Print the action, whether it is valid, its reward, the observation and the new progress."""
        if self._task is None or task.key != self._task.key:
            return
        self._actions += 1
        self._score += step.reward
        self._line(self._bar, str(self._actions), self._action(step))
        self._line(self._bar, "", self._text(clip(step.next_observation.text, OBSERVATION_CHARACTERS), "dim"))
        if step.progress_unreadable is not None:
            self._line(self._bar, "", self._text(f"unreadable progress reply: {step.progress_unreadable!r}", "bad"))
        elif step.next_local_progress is not None:
            self._line(self._bar, "", self._text(f"progress: {step.next_local_progress}"))
        self._show_status()

    def episode_finished(self, episode: Episode) -> None:
        """Print the score and how the episode ended."""
        if self._task is not None and episode.task.key != self._task.key:
            return
        if self._task is None:
            self._begin(episode.task)
        for segment in episode.segments:
            if segment.unreadable is not None:
                self._line(self._bar, "", self._text(f"unreadable subtask reply: {segment.unreadable!r}", "bad"))
        if episode.error is not None:
            self._line(self._bar, "", self._text(f"failed: {episode.error}", "bad"))
        tokens = sum(usage.total for usage in episode.usages.values())
        outcome = "success" if episode.success else "no success"
        result = f"score {100 * episode.score:.1f} of 100, {outcome}, {len(episode.steps)} actions, {tokens} tokens"
        self._line(self._end, "", self._text(result, "good" if episode.success else "strong"))
        self._task = None
        self._live.update(Text(""))

    def _follows(self, task: Task, segment_index: int) -> bool:
        """Whether this is the followed episode; a retried episode starts with its first segment again."""
        if self._task is None:
            return segment_index == 0
        return task.key == self._task.key

    def _begin(self, task: Task) -> None:
        self._task, self._actions, self._score = task, 0, 0.0
        self._console.print(self._text(f"{task.env} {task.key} ({task.split})", "strong"))
        self._console.print(self._text(task.instruction))

    def _action(self, step: Step) -> Text:
        if step.unreadable is not None:
            return self._text(f"unreadable reply: {step.unreadable!r}", "bad")
        parts = [self._text(step.action)]
        if not step.is_valid_action:
            parts.append(self._text("invalid action", "bad"))
        if step.reward:
            parts.append(self._text(f"{100 * step.reward:+.1f}", "good" if step.reward > 0 else "bad"))
        if step.subtask_done:
            ignored = self._text("subtask_done=True", "dim")
            parts.append(self._text("subtask done", "good") if step.is_valid_action else ignored)
        return Text("  ").join(parts)

    def _show_status(self) -> None:
        status = f"{self._subtask}: {self._actions} actions, score so far {100 * self._score:.1f}"
        self._live.update(Spinner("line", self._text(clip(status, max(10, self._console.width - 4)), "dim")))

    def _line(self, mark: str, number: str, content: Text) -> None:
        row = Table.grid(padding=(0, 1))
        row.add_column(width=1)
        row.add_column(width=3, justify="right")
        row.add_column(overflow="fold")
        row.add_row(self._text(mark, "spine"), number, content)
        self._console.print(row)

    def _text(self, text: str, style: str = "") -> Text:
        """One line of plain text, without runs of white space."""
        return self._plain(one_line(text), style)

    def _plain(self, line: str, style: str = "") -> Text:
        """A line in which characters that the terminal cannot encode are replaced."""
        encoding = self._console.encoding
        return Text(line.encode(encoding, "replace").decode(encoding), style=_STYLES.get(style, ""))


class Keyboard:
    """Reads lines from a person while a view is shown. Lines from a pipe are printed."""

    def __init__(self, view: LiveView) -> None:
        self._view = view
        self._explained = False
        # If available, readline adds line editing and history to input().
        with suppress(ImportError):
            import_module("readline")

    def read(self) -> str:
        """Read a line without control characters. Raises :class:`Left` for ``q`` and at the end of the input."""
        if not self._explained:
            self._view.show("(type a line; an empty line shows a hint, q quits)")
            self._explained = True
        with self._view.resting():
            line = _read_line("> ")
        if not _is_terminal():
            self._view.show(f"> {line}")
        return line

    def wait(self) -> None:
        """Wait for Enter; text before it is ignored. Raises :class:`Left` like :meth:`read`."""
        with self._view.resting():
            _read_line("Enter: next step, q: quit ")
            if _is_terminal():
                self._view.erase_line()


def _read_line(prompt: str) -> str:
    if sys.stdin is None:  # closed by the parent process
        raise Left
    try:
        line = input(prompt if _is_terminal() else "")
    except EOFError:
        raise Left from None
    except UnicodeDecodeError:  # not in this terminal's encoding: treated as empty
        return ""
    # Surrogates can be neither printed nor sent to a model.
    line = one_line(line.encode(errors="replace").decode())
    if line.lower() == "q":
        raise Left
    return line


def _is_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()
