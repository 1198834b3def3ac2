"""The live view shows an episode as it is played, and no text in it can control the terminal."""

from __future__ import annotations

import io
import sys

import pytest
from rich.console import Console

from step_hrl.cli.viewer import Keyboard, Left, LiveView, replay
from step_hrl.types import NOTHING, Episode, Observation, Role, Segment, Step, Task, Usage

TASK = Task("pantry", "fetch", 3, "dev", "Put the [bold]mug[/bold] on the shelf.")
HALL = Observation("You are in the hall.")


def a_step(action: str, answer: str, progress: str | None, **changes: object) -> Step:
    facts = {"subtask_done": False, "reward": 0.0, **changes}
    return Step(
        observation=HALL,
        local_progress=NOTHING,
        action=action,
        next_observation=Observation(answer),
        next_local_progress=progress,
        **facts,
    )


def a_segment(subtask: str, *steps: Step, unreadable: str | None = None) -> Segment:
    return Segment(subtask, (), NOTHING, HALL, steps, "policy", unreadable, Usage(40, 0, 10))


FIND = a_segment(
    "find the mug",
    a_step("open [red]door[/red]", "The door is open.", "opened the door", reward=0.25),
    a_step(
        "tkae mug", "I do not understand.", "opened the door", is_valid_action=False, usages={Role.LOW: Usage(5, 0, 1)}
    ),
    a_step("take mug", "Taken.", "have the mug", subtask_done=True),
)
PUT = a_segment("put it away", a_step("put mug on shelf", "Done.", None, reward=0.75, terminated=True))
WON = Episode("e", TASK, (FIND, PUT), 1.0, True)


def shown(*episodes: Episode, width: int = 100, encoding: str = "utf-8") -> str:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    with LiveView(Console(file=file, width=width, force_terminal=False)) as view:
        for episode in episodes:
            replay(episode, view)
    file.flush()
    return file.buffer.getvalue().decode(encoding)


def test_steps_are_shown_below_their_subtasks() -> None:
    lines = [line.rstrip() for line in shown(WON).splitlines() if line.strip()]
    assert lines == [
        "pantry fetch:3 (dev)",
        "Put the [bold]mug[/bold] on the shelf.",
        "●   1 find the mug",
        "│   1 open [red]door[/red]  +25.0",
        "│     The door is open.",
        "│     progress: opened the door",
        "│   2 tkae mug  invalid action",
        "│     I do not understand.",
        "│     progress: opened the door",
        "│   3 take mug  subtask done",
        "│     Taken.",
        "│     progress: have the mug",
        "●   2 put it away",
        "│   4 put mug on shelf  +75.0",
        "│     Done.",
        "◆     score 100.0 of 100, success, 4 actions, 106 tokens",
    ]


def test_unreadable_replies_and_failures_are_shown() -> None:
    step = a_step(
        "", "It could not be read.", "p", is_valid_action=False, unreadable="go; maybe", progress_unreadable=""
    )
    claim = a_step("take cup", "Nothing happens.", "p", is_valid_action=False, subtask_done=True)
    segments = (a_segment("find", claim, step), a_segment("", unreadable=" \n "))
    text = shown(Episode("e", TASK, segments, 0.25, False, error="worker 1: died"))
    assert "take cup  invalid action  subtask_done=True" in text
    assert "unreadable reply: 'go; maybe'" in text
    assert "unreadable progress reply: ''" in text
    assert "(no readable subtask)" in text
    assert "unreadable subtask reply: ' \\n '" in text
    assert "failed: worker 1: died" in text
    assert "score 25.0 of 100, no success, 2 actions" in text


@pytest.mark.parametrize("nasty", ["\x1b[2Jgone", "a\rb", "[/nope] [bold", "\x9b31m", "\ud800"])
def test_control_characters_and_markup_are_escaped(nasty: str) -> None:
    step = a_step(nasty, nasty, nasty)
    task = Task("pantry", "t", 0, "dev", nasty)
    text = shown(Episode("e", task, (a_segment(nasty, step),), 0.0, False, error=nasty))
    assert not set(text) & set("\x1b\r\x9b\ud800")
    if nasty.startswith("["):
        assert text.count(nasty) == 6


def test_an_ascii_terminal_gets_ascii() -> None:
    text = shown(Episode("e", TASK, (a_segment("find the café"),), 0.0, False), encoding="ascii")
    assert "*   1 find the caf?" in text


def test_long_text_is_wrapped_inside_its_column() -> None:
    step = a_step("look", "a table, " * 60, "p " * 60)
    lines = shown(Episode("e", TASK, (a_segment("g", step),), 0.0, False), width=60).splitlines()
    assert max(map(len, lines)) <= 60
    assert any(line.startswith("      a table") for line in lines), "wrapped lines are indented"


def test_the_view_follows_one_of_several_episodes_and_then_the_next() -> None:
    file = io.StringIO()
    other = Task("pantry", "other", 1, "dev")
    with LiveView(Console(file=file, width=100)) as view:
        view.segment_started(TASK, 0, "mine")
        view.segment_started(other, 0, "ignored")
        view.step_taken(other, FIND.steps[0])
        view.episode_finished(Episode("o", other, (), 0.0, False))
        view.step_taken(TASK, FIND.steps[2])
        view.episode_finished(WON)
        view.segment_started(other, 0, "followed now")
    text = file.getvalue()
    assert "take mug" in text
    assert "ignored" not in text
    assert "open [red]door" not in text
    assert "followed now" in text
    assert text.count("of 100") == 1


def test_an_episode_that_starts_again_is_counted_from_its_start() -> None:
    file = io.StringIO()
    with LiveView(Console(file=file, width=100)) as view:
        view.segment_started(TASK, 0, "first")
        view.step_taken(TASK, FIND.steps[0])
        replay(WON, view)
    text = file.getvalue()
    assert text.count("│   1 open [red]door[/red]") == 2
    assert text.count("pantry fetch:3") == 2


def test_a_terminal_shows_a_status_line() -> None:
    file = io.StringIO()
    with LiveView(Console(file=file, width=100, force_terminal=True, color_system=None)) as view:
        view.segment_started(TASK, 0, "find the mug")
        view.step_taken(TASK, FIND.steps[0])
        view._live.refresh()
    assert "find the mug: 1 actions, score so far 25.0" in file.getvalue()


def test_replay_reports_everything_in_order() -> None:
    events: list[tuple[object, ...]] = []

    class Listener:
        def segment_started(self, task: Task, segment_index: int, subtask: str) -> None:
            events.append((segment_index, subtask))

        def step_taken(self, task: Task, step: Step) -> None:
            events.append((step.action,))

        def episode_finished(self, episode: Episode) -> None:
            events.append((episode.id,))

    replay(WON, Listener())
    actions = [(step.action,) for step in WON.steps]
    assert events == [(0, "find the mug"), *actions[:3], (1, "put it away"), actions[3], ("e",)]


def test_a_replay_can_pause_before_each_step() -> None:
    file, seen = io.StringIO(), list[str]()
    with LiveView(Console(file=file, width=100)) as view:
        replay(WON, view, lambda: seen.append(file.getvalue()))
    assert len(seen) == 4
    assert seen[0].rstrip().endswith("find the mug")
    assert seen[3].rstrip().endswith("put it away")
    assert not any(f"│   {number + 1} " in text for number, text in enumerate(seen))


@pytest.mark.parametrize(
    "nasty", ["\x1b[2Jgone", "a\rb", "[/nope] [bold", "[red]x[/red] :smile: 12", "\x9b31m", "\ud800"]
)
def test_a_prompt_is_shown_verbatim(nasty: str) -> None:
    file = io.StringIO()
    with LiveView(Console(file=file, width=20, force_terminal=True, color_system="truecolor")) as view:
        view.show(f"Look:  two  blanks, {nasty} and much more than one line has room for\nAction:")
    text = file.getvalue()
    assert "Action:\n" in text
    if nasty.isprintable():
        assert f"Look:  two  blanks, {nasty} and much more than one line has room for\n" in text
    shown = text.partition("Look:")[2].partition("room for")[0]
    assert not set(shown) & set("\x1b\r\x9b\ud800")


def typing(monkeypatch: pytest.MonkeyPatch, typed: bytes, encoding: str = "utf-8") -> tuple[Keyboard, io.StringIO]:
    """A keyboard that types into a view of the returned file."""
    file = io.StringIO()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(typed), encoding=encoding))
    return Keyboard(LiveView(Console(file=file, width=100))), file


def test_lines_are_read_until_the_input_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    keyboard, file = typing(monkeypatch, "take [red]mug[/red]\n\n \tgo\x1b[A \n\ncafé".encode())
    assert [keyboard.read() for _ in range(3)] == ["take [red]mug[/red]", "", "go [A"]
    keyboard.wait()
    assert keyboard.read() == "café"
    with pytest.raises(Left):
        keyboard.wait()
    assert [line.rstrip() for line in file.getvalue().splitlines()] == [
        "(type a line; an empty line shows a hint, q quits)",
        "> take [red]mug[/red]",
        ">",
        "> go [A",
        "> café",
    ]


@pytest.mark.parametrize("typed", [b"q\n", b" Q \n", b""])
@pytest.mark.parametrize("method", ["read", "wait"])
def test_q_and_end_of_input_leave(monkeypatch: pytest.MonkeyPatch, typed: bytes, method: str) -> None:
    keyboard, _ = typing(monkeypatch, typed)
    with pytest.raises(Left):
        getattr(keyboard, method)()


def test_without_standard_input_the_player_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    keyboard, _ = typing(monkeypatch, b"")
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(Left):
        keyboard.read()


def test_undecodable_input_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    keyboard, _ = typing(monkeypatch, b"\xff\n")
    assert keyboard.read() == ""
    file = io.TextIOWrapper(io.BytesIO(b"a\xffb\n"), encoding="utf-8", errors="surrogateescape")
    monkeypatch.setattr(sys, "stdin", file)
    assert keyboard.read() == "a?b"
