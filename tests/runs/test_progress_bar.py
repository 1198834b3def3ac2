"""Progress of long work: a bar on a terminal, lines elsewhere, nothing if quiet."""

from __future__ import annotations

import io
from collections.abc import Mapping
from types import MappingProxyType

import pytest
from rich.console import Console

from step_hrl.runs.progress_bar import ProgressBar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def output(
    *,
    terminal: bool,
    quiet: bool = False,
    start: int = 0,
    label: str = "cloning",
    width: int = 120,
    environment: Mapping[str, str] = MappingProxyType({"TERM": "xterm"}),
) -> str:
    stream = Terminal() if terminal else io.StringIO()
    console = Console(file=stream, quiet=quiet, width=width, _environ=environment)
    with ProgressBar(console, label, 10, start=start, unit="updates") as progress_bar:
        progress_bar.advance(4)
        progress_bar.advance(10 - start - 4, note="loss 0.5 [x]")
    return stream.getvalue()


def test_without_a_terminal_progress_is_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("step_hrl.runs.progress_bar.MIN_INTERVAL_SECONDS", 0.0)
    lines = output(terminal=False).splitlines()
    assert lines[0].startswith("cloning: 4/10 updates, ")
    assert lines[1].startswith("cloning: 10/10 updates, ")
    assert lines[1].endswith("loss 0.5 [x]")
    assert "/s, 0 s left" in lines[1]


def test_short_work_prints_one_line() -> None:
    assert len(output(terminal=False).splitlines()) == 1


def test_lines_become_rarer_the_longer_the_work_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("step_hrl.runs.progress_bar.time.monotonic", lambda: clock[0])
    stream = io.StringIO()
    with ProgressBar(Console(file=stream, width=120), "cloning", 36_000) as progress_bar:
        for second in range(36_000):
            clock[0] = float(second)
            progress_bar.advance()
            if second == 150:
                assert len(stream.getvalue().splitlines()) == 10
    lines = stream.getvalue().splitlines()
    assert len(lines) < 160
    assert lines[4] == "cloning: 76/36000 episodes, 1.01/s, 35451 s left"


def test_lines_are_not_wrapped_and_labels_are_not_markup() -> None:
    text = output(terminal=False, label="evaluating [dim] " + "on a very long list of splits " * 9, start=2, width=40)
    assert len(text.splitlines()) == 2
    assert text.startswith("evaluating [dim] on")
    text = output(terminal=True, label="[dim] splits")
    assert "[dim] splits" in text
    assert "loss 0.5 [x]" in text


@pytest.mark.parametrize(
    ("terminal", "environment"),
    [(False, {"FORCE_COLOR": "1", "TERM": "xterm"}), (False, {"TTY_COMPATIBLE": "1"}), (True, {"TERM": "dumb"})],
)
def test_no_bar_where_the_terminal_cannot_redraw(terminal: bool, environment: dict[str, str]) -> None:
    text = output(terminal=terminal, environment=environment)
    assert len(text.splitlines()) == 1
    assert "10/10 updates" in text
    assert "\r" not in text


def test_items_are_counted_as_they_are_iterated() -> None:
    stream = io.StringIO()
    with ProgressBar(Console(file=stream, width=120), "values", 3, unit="trajectories") as progress_bar:
        assert list(progress_bar.each("abc")) == ["a", "b", "c"]
    assert stream.getvalue().startswith("values: 3/3 trajectories")


def test_resumed_work_reports_what_is_done() -> None:
    assert output(terminal=False, start=3).splitlines()[0] == "cloning: 3 of 10 updates already done"


def test_a_bar_on_a_terminal() -> None:
    text = output(terminal=True)
    assert "10/10" in text
    assert "━" in text


def test_quiet_prints_nothing() -> None:
    assert output(terminal=False, quiet=True) == ""
    assert output(terminal=True, quiet=True) == ""
