from __future__ import annotations

from pathlib import Path

import pytest

from step_hrl.config import Recipe
from step_hrl.envs.alfworld_games import FOLDERS, data_folder
from step_hrl.envs.registry import world_for
from step_hrl.recipes import load_recipe, to_yaml

RECIPES = sorted((Path(__file__).parents[1] / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_shipped_recipe_names_tasks_and_splits_that_exist(path: Path) -> None:
    recipe = load_recipe(path)
    world = world_for(recipe.world)
    splits = {recipe.demonstrations.split, *recipe.evaluation.splits}
    if recipe.world.name == "alfworld":
        folders = [data_folder() / "json_2.1.1" / FOLDERS[split] for split in splits]
        if not all(folder.is_dir() for folder in folders):
            pytest.skip(f"needs ALFWorld's games under {data_folder()} (alfworld-download, or ALFWORLD_DATA)")
    for split in splits:
        names = {task.name for task in world.tasks(split, recipe.world.tasks)}
        assert names
        assert recipe.world.tasks is None or names == set(recipe.world.tasks)
    assert recipe.name == path.stem
    assert recipe.demonstrations.split not in recipe.evaluation.splits


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_written_out_is_read_back_the_same(path: Path, tmp_path: Path) -> None:
    recipe = load_recipe(path, ["seed=3", "preset=reference"])
    (tmp_path / "again.yaml").write_text(to_yaml(recipe))
    assert load_recipe(tmp_path / "again.yaml") == recipe


@pytest.mark.parametrize(
    "text",
    ["1e5", "null", "2024-01-01", "???", "${seed}", r"\${seed}", "\\", "a: 'b' # \"c\"\n---\n`|`", "é ☃\u2028", ""],
)
def test_no_text_of_a_recipe_is_taken_for_something_else(text: str, tmp_path: Path) -> None:
    world = {"name": "pantry", "options": {"data": {"names": [text]}}}
    recipe = Recipe.model_validate({"name": text, "world": world, "api": {"base_url": text, "model": text}})
    (tmp_path / "again.yaml").write_text(to_yaml(recipe), encoding="utf-8")
    assert load_recipe(tmp_path / "again.yaml") == recipe
