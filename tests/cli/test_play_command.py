"""`step-hrl play` as somebody uses it: watched, paused, and with roles taken, from a terminal and from a pipe."""

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

import step_hrl
from step_hrl.cli import main as cli
from step_hrl.config import BackboneConfig, TinyConfig
from step_hrl.data.episode_files import read_episodes
from step_hrl.stages.playing import Player
from step_hrl.types import Episode, Role

RUN = "import sys; from step_hrl.cli.main import main; sys.argv[0] = 'step-hrl'; main()"
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
    """An untrained policy that has read no more than a few words."""
    place = folder / "runs/small/behavior_cloning/policy"
    config = BackboneConfig(tiny=TinyConfig(width=16, layers=1, heads=2, vocabulary=320, context=512))
    tiny_model.micro_backbone(config).save(place)
    return place


def play(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], typed: str, *words: str
) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a play whose standard input is a pipe with these lines."""
    monkeypatch.setattr(sys, "argv", ["step-hrl", "play", "small.yaml", *words])
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        cli.main()
    said = capsys.readouterr()
    code = left.value.code
    return (code if isinstance(code, int) else 0), said.out, said.err.strip()


def shown_by_the_expert(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Episode:
    """A demonstration, kept in a file of its own."""
    monkeypatch.setattr(sys, "argv", ["step-hrl", "demos", "small.yaml"])
    with pytest.raises(SystemExit):
        cli.main()
    return read_episodes(folder / "runs/small/demonstrations/episodes.jsonl")[0]


def lines_of(episode: Episode, *roles: Role) -> Iterator[str]:
    """What a person types who takes some roles and does as in an episode."""
    for segment in episode.segments:
        if Role.HIGH in roles:
            yield segment.subtask
        for step in segment.steps:
            if Role.LOW in roles:
                yield f"{step.action}; True" if step.subtask_done else step.action
            if Role.PROGRESS in roles and step.next_local_progress is not None:
                yield step.next_local_progress


def test_a_person_wins_without_any_policy_and_no_model_is_loaded(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = shown_by_the_expert(monkeypatch, folder)

    def never(*_: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(Player, "_engine", never)
    typed = "\n".join(lines_of(shown, *Role))
    words = ("--split", "train", "--task", shown.task.key, "--ask", "high", "--ask", "low", "--ask", "progress")
    code, said, failed = play(monkeypatch, capsys, typed, *words)
    assert (code, failed) == (0, "")
    assert f"score 100.0 of 100, success, {len(shown.steps)} actions, 0 tokens" in said
    for opening in ("Name the next subtask.\nTask: ", "Take the next action.\nSubtask: ", "Update the progress.\n"):
        assert opening in said
    assert said.count("subtask done") == sum(step.subtask_done for step in shown.steps)


def test_a_person_and_a_policy_play_together(
    policy: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = shown_by_the_expert(monkeypatch, folder)
    typed = "\n".join(lines_of(shown, Role.HIGH, Role.LOW))
    words = ("--split", "train", "--task", shown.task.key, "--ask", "high", "--ask", "low", "--pause")
    code, said, failed = play(monkeypatch, capsys, typed, *words)
    assert (code, failed) == (0, "")
    assert "success" in said.splitlines()[-1]
    assert "Update the progress." not in said, "its prompt is the policy's to read"
    assert " 0 tokens" not in said.splitlines()[-1]


def test_an_empty_line_asks_again_and_the_end_of_the_input_leaves(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--ask", "low", "agent.kind=flat")
    code, said, failed = play(monkeypatch, capsys, "\ngo [bold]up[/bold]\n", *words)
    assert (code, failed) == (0, "")
    assert "empty reply; type an action\n> go [bold]up[/bold]\n" in said
    assert "go [bold]up[/bold]  invalid action" in said
    assert "History: go [bold]up[/bold] > Nothing happens." in said
    assert said.endswith("left before the end\n")


def test_a_policy_is_paused(policy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code, said, failed = play(monkeypatch, capsys, "find it\n\n\nq\n\n\n", "--ask", "high", "--pause")
    assert (code, failed) == (0, "")
    assert "1 find it" in said
    assert [f"│   {number} " in said for number in (1, 2, 3)] == [True, True, False]
    assert said.endswith("left before the end\n")


@pytest.mark.parametrize("source", ["--expert", "--episodes"])
def test_an_expert_and_a_recorded_episode_are_paused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], source: str
) -> None:
    shown = shown_by_the_expert(monkeypatch, folder)
    recorded = ("--episodes", "runs/small/demonstrations/episodes.jsonl")
    words = ("--expert", "--split", "train") if source == "--expert" else recorded
    words = (*words, "--task", shown.task.key, "--pause")
    code, said, failed = play(monkeypatch, capsys, "\nq\n", *words)
    assert (code, failed) == (0, "")
    assert f"│   1 {shown.steps[0].action}" in said
    assert "│   2 " not in said
    assert said.endswith("left before the end\n")

    code, said, failed = play(monkeypatch, capsys, "\n" * len(shown.steps), *words)
    assert (code, failed) == (0, "")
    assert "score 100.0 of 100, success" in said
    assert "left" not in said


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--ask", "lo"], "--ask lo: the agent step_hrl has no such role; did you mean low?"),
        (["--ask", "[red]"], "--ask [red]: the agent step_hrl has no such role; known: high, low, progress"),
        (["--ask", "high", "agent.kind=flat"], "--ask high: the agent flat has no such role; known: low"),
        (["--ask", "progress", "agent.kind=history_hrl"], "the agent history_hrl has no such role; known: high, low"),
        (["--ask", "high", "agent.hierarchy=false"], "the agent step_hrl-no_hierarchy has no such role"),
        (["--ask", "low", "--expert"], "--ask: nobody is asked where an episode is only shown; leave out --expert"),
        (["--ask", "low", "--episodes", "e.jsonl"], "--ask: nobody is asked where an episode is only shown"),
        (["--ask", "low"], "no policy there (no *.safetensors); run `step-hrl train bc` first"),
        (["--ask", "low", "agent.kind=flat", "--task", "put-one:2000"], "not in this split; did you mean put-one:200?"),
    ],
)
def test_what_cannot_be_played_is_one_clear_line(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    complaint: str,
) -> None:
    code, said, failed = play(monkeypatch, capsys, "", *words)
    assert (code, said) == (2, "")
    assert failed.startswith("step-hrl: ")
    assert complaint in failed
    assert "\n" not in failed


def test_somebody_at_a_terminal(folder: Path) -> None:
    """A real process at a real terminal: what waits is said, the spinner is out of the way, Ctrl-D leaves."""
    ours, theirs = pty.openpty()
    words = ["play", "small.yaml", "--ask", "low", "agent.kind=flat"]
    environment = {**os.environ, "TERM": "xterm", "PYTHONPATH": str(Path(step_hrl.__path__[0]).parent)}
    with subprocess.Popen(
        [sys.executable, "-c", RUN, *words],
        cwd=folder,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as playing:
        os.close(theirs)
        said = until_asked(ours)
        assert b"q leaves" in said
        os.write(ours, b"go [b]up[/b]\n")
        assert b"invalid action" in until_asked(ours)
        os.write(ours, b"\x04")
        assert b"left before the end" in until_closed(ours)
        assert playing.wait(30) == 0
    os.close(ours)


def until_asked(terminal: int) -> bytes:
    """What is written to a terminal until a line is waited for: after the prompt's end."""
    said = b""
    while not (b"Action:" in said and said.rpartition(b"Action:")[2].endswith(b"> ")):
        said += os.read(terminal, 4096)
    return said


def until_closed(terminal: int) -> bytes:
    """What is written to a terminal by the last who has it open."""
    said = b""
    try:
        while more := os.read(terminal, 4096):
            said += more
    except OSError:  # Linux says so at the end
        pass
    return said
