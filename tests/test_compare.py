"""A small comparison of agents on pantry: cells run once, resume and are summarized."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from step_hrl.compare import Comparison
from step_hrl.data.episode_files import read_episodes
from step_hrl.errors import RecipeError
from step_hrl.recipes import load_recipe

RECIPE = """\
name: small
world: {name: pantry, workers: 1, max_episode_steps: 4, tasks: [put-one, examine-in-light]}
demonstrations: {per_task: 2}
backbone: {tiny: {width: 16, layers: 1, heads: 2, vocabulary: 300, context: 1024}}
generation: {max_new_tokens: {high: 3, low: 3, progress: 3}}
evaluation: {splits: [seen], per_task: 2}
compare:
  tokens: 4000
  seeds: [0, 1]
  agents:
    step_hrl: {}
    flat: {agent: {type: flat}}
"""
ABLATIONS = """\
    no_stage_2: {stage_2: false}
    no_expert_data: {data_weights: {demonstration: 0}}
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "small.yaml"
    path.write_text(RECIPE)
    return path


def test_a_comparison_runs_each_cell_once_and_writes_its_results(recipe: Path) -> None:
    first = io.StringIO()
    found = Comparison(load_recipe(recipe), Console(file=first, width=200)).run()["seen"]
    headings = re.findall(
        r"^\w+, seed \d: cell (\d) of 4(?:, about (\d+\.\d) min left)?$", first.getvalue(), re.MULTILINE
    )
    assert [(cell, bool(left)) for cell, left in headings] == [("1", False), ("2", True), ("3", True), ("4", True)]
    assert "behavior cloning: " in first.getvalue()
    assert list(found) == ["step_hrl", "flat"]
    assert [compared.episodes for compared in found.values()] == [8, 8]
    folder = Path("runs/small")
    written = json.loads((folder / "comparison.json").read_text())
    assert written["splits"]["seen"]["flat"]["score"] == found["flat"].score
    assert written["recipe"]["compare"]["tokens"] == 4000
    assert all(compared.wall_time.training > 0 and compared.wall_time.playing > 0 for compared in found.values())
    assert all(compared.multiply_adds_per_episode > 0 for compared in found.values())
    assert load_recipe(folder / "recipe.yaml") == load_recipe(recipe)
    assert load_recipe(folder / "seed1" / "flat" / "recipe.yaml").agent.type == "flat"
    tables = (folder / "comparison.md").read_text()
    assert "| step_hrl | 8 |" in tables
    assert "| task | expert's actions | step_hrl | flat |" in tables
    # The agents of a seed share its demonstrations.
    assert sorted(path.parts[-3] for path in folder.glob("*/demonstrations/episodes.jsonl")) == ["seed0", "seed1"]
    second = io.StringIO()
    before = {path: path.stat().st_mtime_ns for path in folder.glob("seed*/*/behavior_cloning/policy/*")}
    assert Comparison(load_recipe(recipe), Console(file=second, width=200)).run()["seen"] == found
    assert {path: path.stat().st_mtime_ns for path in folder.glob("seed*/*/behavior_cloning/policy/*")} == before
    assert "flat, seed 1: cell 4 of 4\n" in second.getvalue()


@pytest.mark.slow
def test_cells_run_in_parallel_processes_and_are_then_compared(recipe: Path) -> None:
    cells = ["step_hrl/0", "flat/0"]
    running = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                "from step_hrl.cli.main import main; main()",
                "compare",
                str(recipe),
                "--only",
                cell,
            ],
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for cell in cells
    ]
    outputs = [process.communicate()[0] for process in running]
    assert [process.returncode for process in running] == [0, 0]
    assert all(re.search(r"^not finished: .*step_hrl/1, flat/1$", output, re.MULTILINE) for output in outputs)
    demonstrations = Path("runs/small/seed0/demonstrations/episodes.jsonl").read_bytes()
    assert len(read_episodes(Path("runs/small/seed0/demonstrations/episodes.jsonl"))) == 4
    last = io.StringIO()
    Comparison(load_recipe(recipe), Console(file=last, width=200)).run_only(["step_hrl/1", "flat/1"])
    assert last.getvalue().endswith("all cells are finished: compare without --only\n")
    assert not Path("runs/small/comparison.json").exists()
    Comparison(load_recipe(recipe), Console(file=io.StringIO())).run()
    assert Path("runs/small/comparison.json").is_file()
    assert Path("runs/small/seed0/demonstrations/episodes.jsonl").read_bytes() == demonstrations


def test_an_unknown_cell_is_refused(recipe: Path) -> None:
    comparison = Comparison(load_recipe(recipe), Console(file=io.StringIO()))
    with pytest.raises(RecipeError, match=r"--only: no cell 'flat/2'; did you mean flat/[01]\?"):
        comparison.run_only(["flat/2"])
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["compare=null"], "compare: not in the recipe"),
        (["compare.agent={}"], "compare.agent: unknown key; did you mean agents?"),
        (["compare.agents.flat.agent.type=flatt"], "agent.type: unknown 'flatt'; did you mean flat?"),
        (["compare.agents.flat.agent.type=react"], "react is prompted, not trained"),
        (["compare.agents.flat.agnt.type=flat"], "compare.agents.flat.agnt: unknown key; did you mean agent?"),
        (["compare.agents.flat.agent.typ=flat"], "compare.agents.flat.agent.typ: unknown key; did you mean type?"),
        (["compare.seeds=[1,1]"], "seeds named twice"),
        (["offline_rl.epochs=2"], "compare.offline_rl_tokens: missing, although the recipe has stage 2"),
        (["compare.agents={../a: {}, b: {}}"], "names no folder"),
    ],
)
def test_an_invalid_comparison_is_refused(recipe: Path, changes: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message.replace("?", r"\?")):
        Comparison(load_recipe(recipe, changes), Console(file=io.StringIO()))
    assert not Path("runs").exists()


def test_a_comparison_needs_two_agents(recipe: Path) -> None:
    recipe.write_text(RECIPE.replace("    flat: {agent: {type: flat}}\n", ""))
    with pytest.raises(RecipeError, match=r"compare\.agents.*at least 2"):
        load_recipe(recipe)


def test_ablations_of_stage_2_train_on_equal_tokens_in_each_stage(recipe: Path) -> None:
    stage_2 = """\
offline_rl: {epochs: 9, validation_fraction: 0.5, keep_checkpoints: 1}
collection: {per_task: 2}
"""
    text = RECIPE.replace("  tokens: 4000\n", "  tokens: 4000\n  offline_rl_tokens: 3000\n").replace("[0, 1]", "[0]")
    text = text.replace("    flat: {agent: {type: flat}}\n", ABLATIONS)
    recipe.write_text(stage_2 + text)
    console = io.StringIO()
    found = Comparison(load_recipe(recipe), Console(file=console, width=200)).run()["seen"]
    assert list(found) == ["step_hrl", "no_stage_2", "no_expert_data"]
    trained = sorted(path.parts[3] for path in Path("runs/small/seed0").glob("*/offline_rl"))
    assert trained == ["no_expert_data", "step_hrl"]
    # All three share one stage 1, which is trained and evaluated once.
    assert len(re.findall("^behavior cloning: .* decisions from", console.getvalue(), re.MULTILINE)) == 1
    for file in ("behavior_cloning/policy/model.safetensors", "evaluation/behavior_cloning-seen/episodes.jsonl"):
        assert len({path.read_bytes() for path in Path("runs/small/seed0").glob(f"*/{file}")}) == 1
    assert found["no_stage_2"].wall_time.training > 0
    assert {name: each.training_tokens for name, each in found.items()} == {
        "step_hrl": 7000,
        "no_stage_2": 4000,
        "no_expert_data": 7000,
    }


def test_a_stage_1_of_other_settings_is_not_reused(recipe: Path) -> None:
    text = RECIPE.replace("    flat: {agent: {type: flat}}\n", "    twin: {}\n").replace("[0, 1]", "[0]")
    recipe.write_text(text)
    Comparison(load_recipe(recipe), Console(file=io.StringIO())).run_only(["step_hrl/0"])
    console = io.StringIO()
    Comparison(load_recipe(recipe, ["compare.tokens=5000"]), Console(file=console, width=400)).run_only(["twin/0"])
    assert "inputs have changed (settings.tokens)" in console.getvalue()
    assert len(re.findall("^behavior cloning: .* decisions from", console.getvalue(), re.MULTILINE)) == 1
