"""Progress of long work: a bar on a terminal, lines elsewhere, nothing where nobody asked."""

from __future__ import annotations

import io
from collections.abc import Mapping
from types import MappingProxyType

import pytest
from rich.console import Console

from step_hrl.runs.progress_bar import Reporter


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def said(
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
    with Reporter(console, label, 10, start=start, unit="updates") as reporter:
        reporter.advance(4)
        reporter.advance(10 - start - 4, note="loss 0.5 [x]")
    return stream.getvalue()


def test_lines_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("step_hrl.runs.progress_bar.QUIET_SECONDS", 0.0)
    lines = said(terminal=False).splitlines()
    assert lines[0].startswith("cloning: 4/10 updates, ")
    assert lines[1].startswith("cloning: 10/10 updates, ")
    assert lines[1].endswith("loss 0.5 [x]")
    assert "/s, 0 s left" in lines[1]


def test_few_lines_for_quick_work() -> None:
    assert len(said(terminal=False).splitlines()) == 1


def test_the_longer_it_takes_the_farther_apart_are_the_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("step_hrl.runs.progress_bar.time.monotonic", lambda: clock[0])
    stream = io.StringIO()
    with Reporter(Console(file=stream, width=120), "cloning", 36_000) as reporter:
        for second in range(36_000):
            clock[0] = float(second)
            reporter.advance()
            if second == 150:
                assert len(stream.getvalue().splitlines()) == 10
    lines = stream.getvalue().splitlines()
    assert len(lines) < 160
    assert lines[4] == "cloning: 76/36000 episodes, 1.01/s, 35451 s left"


def test_a_line_is_a_line_and_names_are_no_markup() -> None:
    told = said(terminal=False, label="evaluating [dim] " + "on a very long list of splits " * 9, start=2, width=40)
    assert len(told.splitlines()) == 2
    assert told.startswith("evaluating [dim] on")
    shown = said(terminal=True, label="[dim] splits")
    assert "[dim] splits" in shown
    assert "loss 0.5 [x]" in shown


@pytest.mark.parametrize(
    ("terminal", "environment"),
    [(False, {"FORCE_COLOR": "1", "TERM": "xterm"}), (False, {"TTY_COMPATIBLE": "1"}), (True, {"TERM": "dumb"})],
)
def test_no_bar_where_it_cannot_be_drawn_over(terminal: bool, environment: dict[str, str]) -> None:
    told = said(terminal=terminal, environment=environment)
    assert len(told.splitlines()) == 1
    assert "10/10 updates" in told
    assert "\r" not in told


def test_things_are_counted_as_they_are_gone_through() -> None:
    stream = io.StringIO()
    with Reporter(Console(file=stream, width=120), "values", 3, unit="trajectories") as reporter:
        assert list(reporter.each("abc")) == ["a", "b", "c"]
    assert stream.getvalue().startswith("values: 3/3 trajectories")


def test_what_was_there_before_is_told() -> None:
    assert said(terminal=False, start=3).splitlines()[0] == "cloning: 3 of 10 updates are already there"


def test_a_bar_on_a_terminal() -> None:
    shown = said(terminal=True)
    assert "10/10" in shown
    assert "━" in shown


def test_nothing_where_nobody_asked() -> None:
    assert said(terminal=False, quiet=True) == ""
    assert said(terminal=True, quiet=True) == ""
