"""The model card beside a policy holds only what its run has recorded, and is written only for the run's own policy."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.report.test_model_card import TRAINING

from step_hrl.config import Recipe
from step_hrl.evaluation import summarize, write_summary
from step_hrl.report import model_card_files
from step_hrl.report.model_card_files import describe, note, training_of
from step_hrl.types import Episode, Role, Task, Transition

EPISODE = Episode("e", Task("pantry", "put-one", 0, "seen", "Put."), (), 1.0, True, 0, {}, None)


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    folder = tmp_path / "behavior_cloning" / "policy"
    folder.mkdir(parents=True)
    save_file({"a": torch.zeros(3, 4, dtype=torch.bfloat16), "b": torch.zeros(5)}, folder / "model.safetensors")
    save_file({"v": torch.zeros(100)}, folder / "critics.safetensors")
    return folder


def evaluated(folder: Path, policy: str, episodes: int = 1) -> None:
    played = [replace(EPISODE, id=str(number)) for number in range(episodes)]
    write_summary(folder / "summary.json", summarize(played, seed=0), {"policy": policy, "split": "seen"})


def card(policy: Path) -> list[str]:
    describe(policy, "policy:1", policy.parents[1] / "evaluation")
    return (policy / "README.md").read_text().splitlines()


def test_a_card_holds_what_the_stage_recorded(policy: Path) -> None:
    note(policy.parent, TRAINING)
    lines = card(policy)
    assert "| parameters | 17 |" in lines
    assert not any(line.startswith(("| updates", "| wall time", "| checkpoint")) for line in lines)
    (policy.parent / "metrics.jsonl").write_text('{"update": 20}\n{"update": 31}\n')
    (policy.parent / "wall_time.json").write_text('{"seconds": 240.0}')
    (policy.parent / "selection.json").write_text('{"split": "dev", "chosen": "checkpoint-20", "scores": {}}')
    lines = card(policy)
    assert "| updates | 31 |" in lines
    assert "| wall time | 4.0 min |" in lines
    assert "| checkpoint | checkpoint-20, the best on dev |" in lines
    assert (policy / "recipe.yaml").read_text() == TRAINING.recipe_yaml


def test_a_card_shows_the_latest_evaluation_of_these_weights(policy: Path) -> None:
    note(policy.parent, TRAINING)
    evaluations = policy.parents[1] / "evaluation"
    evaluated(evaluations / "untrained-seen", "untrained:1", 2)
    evaluated(evaluations / "behavior_cloning-seen.previous-1", "policy:1", 3)
    assert "Not evaluated yet." in card(policy)
    evaluated(evaluations / "behavior_cloning-seen", "policy:1", 4)
    assert "| episodes | 4 |" in card(policy)
    evaluated(evaluations / "other-seen", "policy:1", 5)
    assert "| episodes | 5 |" in card(policy)
    (evaluations / "other-seen" / "summary.json").write_text("{")
    assert "| episodes | 4 |" in card(policy)


@pytest.mark.parametrize("noted", [None, "", "[]", "{}", '{"recipe": 1}'])
def test_a_folder_without_a_record_is_left_alone(policy: Path, noted: str | None) -> None:
    if noted is not None:
        (policy.parent / "training.json").write_text(noted)
    (policy / "README.md").write_text("# Somebody's own")
    assert card(policy) == ["# Somebody's own"]
    assert not (policy / "recipe.yaml").exists()


def test_the_record_counts_what_is_trained_on(tmp_path: Path) -> None:
    def decision(role: Role, episode: str = "a", clone_mask: bool = True) -> Transition:
        return Transition(role, f"{role} of {episode}", "go", 0.0, None, False, 1, episode, "put-one:0", clone_mask)

    weights = {"role_weights": {"progress": 0}}
    recipe = Recipe.model_validate(
        {"name": "n", "world": {"name": "pantry"}, "behavior_cloning": weights, "offline_rl": {"tokens": 9}}
    )
    train = [
        decision(Role.LOW, clone_mask=False),
        decision(Role.LOW, "b"),
        decision(Role.HIGH),
        decision(Role.PROGRESS),
    ]
    validation = [decision(Role.LOW, "c"), decision(Role.HIGH, "c")]
    cloned = training_of(recipe, 0, [EPISODE], [], train, validation, {"pantry_layouts": "ab"})
    assert (cloned.decisions, cloned.validation, cloned.demonstrations, cloned.tokens) == (2, 1, 1, None)
    assert cloned.examples["low"].prompt == "low of b"
    assert set(cloned.examples) == {"high", "low"}
    assert set(cloned.versions) == {"pantry_layouts", "torch", "transformers"}
    second_stage = training_of(recipe, 1, [EPISODE], [EPISODE], train, validation, {})
    assert (second_stage.decisions, second_stage.collected, second_stage.tokens) == (4, 1, 9)
    note(tmp_path, cloned)
    assert json.loads((tmp_path / "training.json").read_text())["tasks"] == ["put-one"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("tiny", None),
        ("HuggingFaceTB/SmolLM2-135M", "HuggingFaceTB/SmolLM2-135M"),
        ("smollm2-135m", "HuggingFaceTB/SmolLM2-135M-Instruct"),
        ("./models/mine", None),
        ("/models/mine", None),
        ("models/mine.gguf", None),
        ("a/b/c", None),
        ("here/mine", None),
        ("-x/y: z", None),
    ],
)
def test_which_sources_are_models_of_the_hub(
    source: str, expected: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("here/mine").mkdir(parents=True)
    assert model_card_files._hub_id(source) == expected
