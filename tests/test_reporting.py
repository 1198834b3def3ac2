"""Progress of long work: a bar on a terminal, lines elsewhere, nothing where nobody asked."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from step_hrl.reporting import Reporter


def said(*, terminal: bool, quiet: bool = False, start: int = 0) -> str:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, quiet=quiet, width=120)
    with Reporter(console, "cloning", 10, start=start, unit="updates") as reporter:
        reporter.advance(4)
        reporter.advance(10 - start - 4, note="loss 0.5 [x]")
    return stream.getvalue()


def test_lines_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("step_hrl.reporting.QUIET_SECONDS", 0.0)
    lines = said(terminal=False).splitlines()
    assert lines[0].startswith("cloning: 4/10 updates, ")
    assert lines[1].startswith("cloning: 10/10 updates, ")
    assert lines[1].endswith("loss 0.5 [x]")
    assert "/s, 0 s left" in lines[1]


def test_few_lines_for_quick_work() -> None:
    assert len(said(terminal=False).splitlines()) == 1


def test_what_was_there_before_is_told() -> None:
    assert said(terminal=False, start=3).splitlines()[0] == "cloning: 3 of 10 updates are already there"


def test_a_bar_on_a_terminal() -> None:
    shown = said(terminal=True)
    assert "10/10" in shown
    assert "━" in shown


def test_nothing_where_nobody_asked() -> None:
    assert said(terminal=False, quiet=True) == ""
    assert said(terminal=True, quiet=True) == ""
