"""`step-hrl play`: watching, pausing, and answering for roles, from a terminal and from a pipe."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import tiny_model
from tests.cli.test_main import PANTRY
from tests.command import COMMAND

import step_hrl
from step_hrl.cli import main as cli
from step_hrl.config import BackboneConfig, TinyConfig
from step_hrl.data.episode_files import read_episodes
from step_hrl.stages import playing
from step_hrl.types import Episode, Role

TASK = "put-one:210"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe without any policy."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "small.yaml").write_text(PANTRY)
    return tmp_path


@pytest.fixture
def policy(folder: Path) -> Path:
    """An untrained policy."""
    place = folder / "runs/small/behavior_cloning/policy"
    config = BackboneConfig(tiny=TinyConfig(width=16, layers=1, heads=2, vocabulary=320, context=512))
    tiny_model.tiny_backbone(config).save(place)
    return place


def play(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], typed: str, *words: str
) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `step-hrl play` with these lines as standard input."""
    monkeypatch.setattr(sys, "argv", ["step-hrl", "play", "small.yaml", *words])
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        cli.main()
    printed = capsys.readouterr()
    code = left.value.code
    return (code if isinstance(code, int) else 0), printed.out, printed.err.strip()


def demonstration(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Episode:
    """A demonstration, as `step-hrl demos` writes it."""
    monkeypatch.setattr(sys, "argv", ["step-hrl", "demos", "small.yaml"])
    with pytest.raises(SystemExit):
        cli.main()
    return read_episodes(folder / "runs/small/demonstrations/episodes.jsonl")[0]


def lines_of(episode: Episode, *roles: Role) -> Iterator[str]:
    """The lines that a person types to answer for these roles as in an episode."""
    for segment in episode.segments:
        if Role.HIGH in roles:
            yield segment.subtask
        for step in segment.steps:
            if Role.LOW in roles:
                yield f"{step.action}; True" if step.subtask_done else step.action
            if Role.PROGRESS in roles and step.next_local_progress is not None:
                yield step.next_local_progress


def test_a_person_in_all_roles_needs_no_policy(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    episode = demonstration(monkeypatch, folder)

    def never(*_: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(playing, "policy_engine", never)
    typed = "\n".join(lines_of(episode, *Role))
    words = ("--split", "train", "--task", episode.task.key, "--ask", "high", "--ask", "low", "--ask", "progress")
    code, output, error = play(monkeypatch, capsys, typed, *words)
    assert (code, error) == (0, "")
    assert f"score 100.0 of 100, success, {len(episode.steps)} actions, 0 tokens" in output
    for label in ("Next subtask:", "Next action:", "New progress:"):
        assert f"\n{label}\n" in output
    assert output.count("subtask done") == sum(step.subtask_done for step in episode.steps)


def test_a_person_and_a_policy_play_together(
    policy: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    episode = demonstration(monkeypatch, folder)
    typed = "\n".join(lines_of(episode, Role.HIGH, Role.LOW))
    words = ("--split", "train", "--task", episode.task.key, "--ask", "high", "--ask", "low", "--pause")
    code, output, error = play(monkeypatch, capsys, typed, *words)
    assert (code, error) == (0, "")
    assert "success" in output.splitlines()[-1]
    assert "New progress:" not in output, "the policy answers for this role"
    assert " 0 tokens" not in output.splitlines()[-1]


def test_an_empty_line_asks_again_and_end_of_input_leaves(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--ask", "low", "agent.type=flat")
    code, output, error = play(monkeypatch, capsys, "\ngo [bold]up[/bold]\n", *words)
    assert (code, error) == (0, "")
    assert "empty reply; type an action\n> go [bold]up[/bold]\n" in output
    assert "go [bold]up[/bold]  invalid action" in output
    assert "History: go [bold]up[/bold] > Nothing happens." in output
    assert output.endswith("quit before the end\n")


def test_a_policy_can_be_paused(
    policy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, output, error = play(monkeypatch, capsys, "find it\n\n\nq\n\n\n", "--ask", "high", "--pause")
    assert (code, error) == (0, "")
    assert "1 find it" in output
    assert [f"│   {number} " in output for number in (1, 2, 3)] == [True, True, False]
    assert output.endswith("quit before the end\n")


@pytest.mark.parametrize("source", ["--expert", "--episodes"])
def test_experts_and_recorded_episodes_can_be_paused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], source: str
) -> None:
    episode = demonstration(monkeypatch, folder)
    recorded = ("--episodes", "runs/small/demonstrations/episodes.jsonl")
    words = ("--expert", "--split", "train") if source == "--expert" else recorded
    words = (*words, "--task", episode.task.key, "--pause")
    code, output, error = play(monkeypatch, capsys, "\nq\n", *words)
    assert (code, error) == (0, "")
    assert f"│   1 {episode.steps[0].action}" in output
    assert "│   2 " not in output
    assert output.endswith("quit before the end\n")

    code, output, error = play(monkeypatch, capsys, "\n" * len(episode.steps), *words)
    assert (code, error) == (0, "")
    assert "score 100.0 of 100, success" in output
    assert "left" not in output


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--ask", "lo"], "--ask lo: the agent step_hrl has no such role; did you mean low?"),
        (["--ask", "[red]"], "--ask [red]: the agent step_hrl has no such role; known: high, low, progress"),
        (["--ask", "high", "agent.type=flat"], "--ask high: the agent flat has no such role; known: low"),
        (["--ask", "progress", "agent.type=history_hrl"], "the agent history_hrl has no such role; known: high, low"),
        (["--ask", "high", "agent.type=no_hierarchy"], "the agent no_hierarchy has no such role"),
        (["--ask", "low", "--expert"], "--ask: has no effect with --expert or --episodes; remove one"),
        (["--ask", "low", "--episodes", "e.jsonl"], "--ask: has no effect with --expert or --episodes"),
        (["--ask", "low"], "no policy there (no *.safetensors); run `step-hrl train bc` first"),
        (["--ask", "low", "agent.type=flat", "--task", "put-one:2000"], "not in this split; did you mean put-one:200?"),
    ],
)
def test_bad_options_are_one_error_line(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    complaint: str,
) -> None:
    code, output, error = play(monkeypatch, capsys, "", *words)
    assert (code, output) == (2, "")
    assert error.startswith("step-hrl: ")
    assert complaint in error
    assert "\n" not in error


def test_play_on_a_terminal(folder: Path) -> None:
    """A real process on a pseudo-terminal: it prompts for input without a spinner, and Ctrl-D leaves."""
    ours, theirs = pty.openpty()
    words = ["play", "small.yaml", "--ask", "low", "agent.type=flat"]
    environment = {**os.environ, "TERM": "xterm", "PYTHONPATH": str(Path(step_hrl.__path__[0]).parent)}
    with subprocess.Popen(
        [*COMMAND, *words],
        cwd=folder,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as playing:
        os.close(theirs)
        assert b"q quits" in until_asked(ours)
        os.write(ours, b"go [b]up[/b]\n")
        assert b"invalid action" in until_asked(ours)
        os.write(ours, b"\x04")
        assert b"quit before the end" in until_closed(ours)
        assert playing.wait(30) == 0
    os.close(ours)


def until_asked(terminal: int) -> bytes:
    """Read a terminal until the input prompt."""
    output = b""
    while not (b"Next action:" in output and output.rpartition(b"Next action:")[2].endswith(b"> ")):
        output += os.read(terminal, 4096)
    return output


def until_closed(terminal: int) -> bytes:
    """Read a terminal until the process has closed it."""
    output = b""
    try:
        while more := os.read(terminal, 4096):
            output += more
    except OSError:  # raised by Linux at the end
        pass
    return output
