"""All stages of a recipe on a micro model: what is written, gone on with, and redone."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from step_hrl.config import Recipe, load_recipe
from step_hrl.pipeline import Pipeline
from step_hrl.storage import read_episodes
from tests.test_cli import PANTRY


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(PANTRY)
    return tmp_path / "runs" / "small"


def recipe(*overrides: str) -> Recipe:
    return load_recipe(Path("small.yaml"), overrides)


def said_by_running(*overrides: str) -> str:
    said = io.StringIO()
    Pipeline(recipe(*overrides), Console(file=said, width=200)).run()
    return said.getvalue()


def snapshot(folder: Path) -> dict[str, int]:
    """Every file but locks, by its time of change."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in files}


def test_a_recipe_runs_reruns_and_redoes_what_changed(folder: Path) -> None:
    said = said_by_running("evaluation.untrained=true")
    for name in ("demonstrations/episodes.jsonl", "demonstrations/audit.json", "behavior_cloning/policy/config.json"):
        assert (folder / name).is_file(), name
    for label in ("untrained", "behavior_cloning"):
        summary = json.loads((folder / "evaluation" / f"{label}-seen" / "summary.json").read_text())
        assert summary["provenance"]["split"] == "seen"
        assert summary["provenance"]["seed"] == "0"
        assert summary["provenance"]["pantry_layouts"]
    assert "seen, untrained" in said
    assert "seen, behaviour cloning" in said

    first = snapshot(folder)
    again = said_by_running("evaluation.untrained=true")
    unchanged = {name for name, time in snapshot(folder).items() if first.get(name) == time}
    assert {name for name in first if not name.endswith(("summary.json", "audit.json"))} <= unchanged
    assert "policy is already there" in again

    changed = said_by_running("behavior_cloning.epochs=2")
    assert "made from other inputs (behavior_cloning.epochs)" in changed
    assert (folder / "behavior_cloning.superseded-1" / "policy").is_dir()
    assert (folder / "demonstrations" / "episodes.jsonl").stat().st_mtime_ns == first["demonstrations/episodes.jsonl"]


def test_more_demonstrations_are_added_to_those_there(folder: Path) -> None:
    console = Console(file=io.StringIO())
    Pipeline(recipe(), console).demonstrations()
    few = read_episodes(folder / "demonstrations" / "episodes.jsonl")
    Pipeline(recipe("demonstrations.per_task=5"), console).demonstrations()
    more = read_episodes(folder / "demonstrations" / "episodes.jsonl")
    assert len(few) == 2
    assert len(more) == 5
    assert more[:2] == few


def test_evaluation_is_the_same_for_the_same_seed(folder: Path) -> None:
    console = Console(file=io.StringIO())
    pipeline = Pipeline(recipe("evaluation.per_task=3"), console)
    pipeline.demonstrations()
    policy = pipeline.behavior_cloning()
    pipeline.evaluate("seen", policy)
    file = folder / "evaluation" / "behavior_cloning-seen" / "episodes.jsonl"
    first = {episode.id: episode.segments for episode in read_episodes(file)}
    file.unlink()
    pipeline.evaluate("seen", policy)
    assert {episode.id: episode.segments for episode in read_episodes(file)} == first
    assert len(first) == 3
