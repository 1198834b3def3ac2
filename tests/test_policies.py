"""The policies that the repository carries: small, of today's prompts, and with their recipe and their scores."""

from __future__ import annotations

from pathlib import Path

import pytest

from step_hrl.models.policy_folder import read_notes
from step_hrl.prompts.text import LAYOUT
from step_hrl.recipes import load_recipe

FOLDERS = sorted((Path(__file__).parents[1] / "policies").glob("*/"))
MOST_BYTES = 12_000_000


def test_there_are_policies() -> None:
    assert FOLDERS


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_shipped_policy_can_be_played(folder: Path) -> None:
    notes = read_notes(folder)
    assert notes is not None
    assert notes.base is not None
    assert notes.prompt_layout == LAYOUT
    assert load_recipe(folder / "recipe.yaml").name == folder.name
    assert (folder / "adapter_config.json").is_file()
    assert sum(file.stat().st_size for file in folder.iterdir()) <= MOST_BYTES


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_shipped_policy_states_its_scores(folder: Path) -> None:
    card = (folder / "README.md").read_text("utf-8")
    assert "Not evaluated yet" not in card
    assert load_recipe(folder / "recipe.yaml").evaluation.splits[-1] in card
