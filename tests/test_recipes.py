from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from step_hrl.config import AdamWConfig, FlatConfig, MuonConfig, ReactConfig, Recipe, StepHrlConfig
from step_hrl.envs.alfworld_games import FOLDERS, data_folder
from step_hrl.envs.registry import world_for
from step_hrl.errors import RecipeError
from step_hrl.recipes import MOST_ENTRIES, OLD_KEYS, load_recipe, to_yaml

RECIPES = sorted((Path(__file__).parents[1] / "recipes").glob("*.yaml"))
SMALL = "name: small\nworld: {name: pantry}\n"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return path


def error_of(path: Path, *overrides: str) -> str:
    """The error of an invalid recipe, one line, without the folder."""
    with pytest.raises(RecipeError) as found:
        load_recipe(path, overrides)
    assert "\n" not in str(found.value)
    return str(found.value).replace(f"{path.parent}/", "")


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_shipped_recipe_names_tasks_and_splits_that_exist(path: Path) -> None:
    recipe = load_recipe(path)
    world = world_for(recipe.world)
    apart = recipe.demonstrations.validation_split
    splits = {recipe.demonstrations.split, *recipe.evaluation.splits, *([apart] if apart else [])}
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
def test_shipped_recipes_round_trip(path: Path, tmp_path: Path) -> None:
    recipe = load_recipe(path, ["seed=3", "preset=reference"])
    written = to_yaml(recipe)
    assert "extends" not in written
    (tmp_path / "again.yaml").write_text(written)
    assert load_recipe(tmp_path / "again.yaml") == recipe


@pytest.mark.parametrize(
    "text",
    [
        "1e5",
        "null",
        "2024-01-01",
        "???",
        "${seed}",
        r"\${seed}",
        "\\",
        "a: 'b' # \"c\"\n---\n`|`",
        "é ☃\u2028",
        "",
        "on",
    ],
)
def test_special_texts_in_a_recipe_round_trip(text: str, tmp_path: Path) -> None:
    world = {"name": "pantry", "options": {"data": {"names": [text]}, text: 1}}
    recipe = Recipe.model_validate({"name": text, "world": world, "api": {"base_url": text, "model": text}})
    (tmp_path / "again.yaml").write_text(to_yaml(recipe), encoding="utf-8")
    assert load_recipe(tmp_path / "again.yaml") == recipe


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=100))
def test_any_text_in_a_recipe_round_trips(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    recipe = Recipe.model_validate({"name": text, "world": {"name": "pantry", "options": {text: [text]}}})
    path = tmp_path_factory.getbasetemp() / "again.yaml"
    path.write_text(to_yaml(recipe), encoding="utf-8")
    assert load_recipe(path) == recipe


def test_infinite_numbers_round_trip(small: Path) -> None:
    recipe = load_recipe(small, ["offline_rl.awr_max_weight=.inf", "world.options.limit=.inf"])
    small.write_text(to_yaml(recipe))
    assert load_recipe(small) == recipe


def test_overrides_are_yaml_with_dotted_keys(small: Path) -> None:
    overrides = [
        "world.tasks=[put-one, examine-in-light]",
        "offline_rl.optimizer.matrix_learning_rate=3e-3",
        "offline_rl.optimizer.type=muon",
        "behavior_cloning.learning_rate=3e-3",
        "backbone.tiny={width: 8}",
        "backbone.tiny.heads=2",
        "output=a=b",
        "evaluation.per_task=",
        "seed=1",
        "seed=2",
    ]
    recipe = load_recipe(small, overrides)
    assert recipe.world.tasks == ("put-one", "examine-in-light")
    assert recipe.offline_rl is not None
    assert recipe.offline_rl.optimizer == MuonConfig(matrix_learning_rate=0.003)
    assert recipe.behavior_cloning.learning_rate == 0.003
    assert (recipe.backbone.tiny.width, recipe.backbone.tiny.heads) == (8, 2)
    assert (recipe.output, recipe.evaluation.per_task, recipe.seed) == ("a=b", None, 2)


def test_dates_are_text(small: Path) -> None:
    recipe = load_recipe(small, ["name=2024-01-01", "world.options={since: 2024-01-01}"])
    assert (recipe.name, recipe.world.options) == ("2024-01-01", {"since": "2024-01-01"})


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("seed", "seed: not an override; write key=value, such as seed=1"),
        ("=1", "=1: not an override; write key=value, such as seed=1"),
        ("a..b=1", "a..b=1: not an override; write key=value, such as seed=1"),
        ("seed=[", "seed=[: cannot be read (while parsing"),
        ("seed={a: 1, a: 2}", "the key a occurs twice"),
        ("seed=!!int ''", "cannot be read (string index out of range)"),
        ("seed=&a [*a]", f"more than {MOST_ENTRIES} entries"),
        ("world.options." + ".".join("a" * 5000) + "=1", "not an override"),
        ("seeds=1", "small.yaml: seeds: unknown key; did you mean seed?"),
        ("extends=small.yaml", "small.yaml: extends: unknown key"),
        ("seed=x", "small.yaml: seed: 'x'; input should be a valid integer"),
        ("demonstrations.validation_split=train", "validation_split: 'train' is trained on; name another split"),
        ("world=null", "small.yaml: world: None; input should be a valid dictionary"),
        ("agent.type=flatt", "small.yaml: agent.type: unknown 'flatt'; did you mean flat?"),
        ("agent.typ=flat", "small.yaml: agent.typ: unknown key; did you mean type?"),
        ("agent=flat", "small.yaml: agent: 'flat'; write a mapping, such as {type: step_hrl}"),
        ("agent={type: flat, history_stps: 1}", "agent.history_stps: unknown key; did you mean history_steps?"),
        ("agent={type: flat, history_steps: 0}", "small.yaml: agent.history_steps: 0; input should be greater than 0"),
        ("behavior_cloning.optimizer={}", "optimizer.type: missing; write one of adamw, muon"),
        ("behavior_cloning.optimizer=sgd", "optimizer: 'sgd'; write a mapping, such as {type: adamw}"),
        ("behavior_cloning.optimizer.type=muno", "optimizer.type: unknown 'muno'; did you mean muon?"),
        ("offline_rl.optimizer={type: muon, lr: 1}", "offline_rl.optimizer.lr: unknown key; known: type, matrix_"),
        ("compare.agents={a: {agnt: {}}, b: {}}", "compare.agents.a.agnt: unknown key; did you mean agent?"),
    ],
)  # fmt: skip
def test_an_invalid_override_is_a_one_line_error(small: Path, override: str, expected: str) -> None:
    assert expected in error_of(small, override)


def test_another_type_discards_the_settings_of_the_first(small: Path) -> None:
    small.write_text(f"{SMALL}agent: {{type: react, instructions: x}}\noffline_rl: {{optimizer: {{type: muon}}}}\n")
    recipe = load_recipe(small, ["agent.type=flat", "offline_rl.optimizer.type=adamw"])
    assert recipe.agent == FlatConfig()
    assert recipe.offline_rl is not None
    assert recipe.offline_rl.optimizer == AdamWConfig()
    assert load_recipe(small, ["agent.history_steps=3"]).agent == ReactConfig(instructions="x", history_steps=3)


@pytest.mark.parametrize(
    "agent_type", ["step_hrl", "no_hierarchy", "no_local_progress", "flat", "history_hrl", "react"]
)
def test_the_reference_preset_sets_only_fields_of_the_agent(small: Path, agent_type: str) -> None:
    agent = load_recipe(small, ["preset=reference", f"agent.type={agent_type}"]).agent
    assert agent.type == agent_type
    assert agent.unreadable_action == "None"
    assert getattr(agent, "complete_on_invalid_action", True)


def test_an_agent_without_a_type_is_the_agent_of_the_paper(small: Path) -> None:
    recipe = load_recipe(small, ["agent.unreadable_action=look"])
    assert recipe.agent == StepHrlConfig(unreadable_action="look")


def nested(key: str) -> str:
    """The override of a key of :data:`OLD_KEYS`."""
    dotted, _, value = key.partition(": ")
    return f"{dotted}={value or 1}"


@pytest.mark.parametrize("old", [key for key in OLD_KEYS if not key.startswith("data_weights.")])
def test_an_old_key_names_the_new_one(small: Path, old: str) -> None:
    new = OLD_KEYS[old]
    expected = f"{old}: renamed; write {new}" if new else f"{old}: removed; delete it"
    assert error_of(small, nested(old)) == f"override: {expected}"
    tree: Any = yaml.safe_load(nested(old).partition("=")[2])
    for part in reversed(old.partition(": ")[0].split(".")):
        tree = {part: tree}
    small.write_text(yaml.safe_dump({**yaml.safe_load(SMALL), **tree}))
    assert error_of(small) == f"small.yaml: {expected}"


@pytest.mark.parametrize("old", [key for key in OLD_KEYS if key.startswith(("data_weights.", "agent."))])
def test_an_old_key_of_a_compared_agent_names_the_new_one(small: Path, old: str) -> None:
    new = OLD_KEYS[old]
    expected = f"renamed; write compare.agents.a.{new}" if new else "removed; delete it"
    assert error_of(small, f"compare.agents.a.{nested(old)}") == f"override: compare.agents.a.{old}: {expected}"


@pytest.mark.parametrize("old", OLD_KEYS)
def test_no_old_key_is_valid(old: str) -> None:
    key, _, value = old.partition(": ")
    tree: Any = yaml.safe_load(value) if value else 1
    for part in reversed(key.split(".")):
        tree = {part: tree}
    with pytest.raises(ValueError, match="validation error"):
        Recipe.model_validate({**yaml.safe_load(SMALL), **tree})


def test_an_old_key_is_reported_with_its_file(small: Path) -> None:
    (small.parent / "base.yaml").write_text("world: {action_limit: 3}\n")
    small.write_text(f"extends: base.yaml\n{SMALL}")
    assert error_of(small) == "base.yaml: world.action_limit: renamed; write world.max_episode_steps"


def test_options_of_a_world_may_be_named_like_an_old_key(small: Path) -> None:
    options = load_recipe(small, ["world.options={agent: {kind: x}}"]).world.options
    assert options == {"agent": {"kind": "x"}}


def test_an_extending_recipe_overrides_key_by_key(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "lowest.yaml").write_text(
        "seed: 1\nworld: {name: pantry, workers: 1, max_episode_steps: 9}\n"
    )
    (tmp_path / "shared" / "world.yaml").write_text("extends: lowest.yaml\nworld: {workers: 3}\n")
    (tmp_path / "shared" / "muon.yaml").write_text(
        "seed: 2\nbehavior_cloning: {optimizer: {type: muon, matrix_learning_rate: 0.5}, epochs: 2}\n"
    )
    path = tmp_path / "own.yaml"
    path.write_text("extends: [shared/world.yaml, shared/muon.yaml]\nname: own\nbehavior_cloning: {epochs: 3}\n")
    recipe = load_recipe(path, ["world.max_episode_steps=8"])
    assert recipe.seed == 2, "later files win over earlier ones"
    assert (recipe.world.workers, recipe.world.max_episode_steps) == (3, 8)
    assert recipe.behavior_cloning.epochs == 3
    assert recipe.behavior_cloning.optimizer == MuonConfig(matrix_learning_rate=0.5)
    path.write_text(f"{path.read_text()}  \n".replace("epochs: 3", "optimizer: {type: adamw}"))
    assert load_recipe(path).behavior_cloning.optimizer == AdamWConfig()


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"small": "extends: small.yaml\n"}, "small.yaml: extends: a cycle (small.yaml -> small.yaml); leave one"),
        (
            {"small": "extends: a.yaml\n", "a": "extends: x/../b.yaml\n", "b": "extends: a.yaml\n"},
            "b.yaml: extends: a cycle (small.yaml -> a.yaml -> b.yaml -> a.yaml); leave one of them out",
        ),
        ({"small": "extends: basse.yaml\n", "base": ""}, "extends: basse.yaml: no such recipe; did you mean base?"),
        ({"small": "extends: base.yaml\n", "base": ""}, "base.yaml: cannot be read (not a mapping"),
        ({"small": "extends: base.yaml\n", "base": "a: [\n"}, "base.yaml: cannot be read ("),
        ({"small": "extends: 3\n"}, "small.yaml: extends: 3; write the path of a file, or a list of paths"),
        ({"small": "extends: [[a]]\n"}, "small.yaml: extends: [['a']]; write the path"),
        ({"small": "extends: ''\n"}, "small.yaml: extends: ''; write the path"),
        ({"small": 'extends: "a\\0b"\n'}, "no such recipe"),
        ({"small": "extends: ..\n"}, "no such recipe"),
        (
            {"small": "extends: c0.yaml\n", **{f"c{n}": f"extends: c{n + 1}.yaml\n" for n in range(60)}},
            "c49.yaml: extends: a chain of more than 50 files",
        ),
    ],
)  # fmt: skip
def test_an_invalid_base_is_a_one_line_error(small: Path, files: dict[str, str], expected: str) -> None:
    for name, content in files.items():
        (small.parent / f"{name}.yaml").write_text(f"{content}{SMALL if name == 'small' else ''}")
    assert expected in error_of(small)


def test_files_extended_twice_are_read_once(small: Path) -> None:
    small.write_text(f"extends: [c0.yaml, c0.yaml]\n{SMALL}")
    for n in range(40):
        (small.parent / f"c{n}.yaml").write_text(f"extends: [c{n + 1}.yaml, c{n + 1}.yaml]\n")
    (small.parent / "c40.yaml").write_text("seed: 60\n")
    assert load_recipe(small).seed == 60


def test_merge_keys_that_expand_too_far_are_refused(small: Path) -> None:
    lines = [f"a0: &a0 {{{', '.join(f'k{n}: 1' for n in range(10))}}}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 9)]
    small.write_text("\n".join([*lines, SMALL]))
    assert f"more than {MOST_ENTRIES} entries" in error_of(small)


def test_merge_keys_are_supported(small: Path) -> None:
    small.write_text(f"{SMALL}evaluation: &e {{per_task: 3}}\ncollection: {{<<: *e, repeats: 2}}\n")
    collection = load_recipe(small).collection
    assert (collection.per_task, collection.repeats) == (3, 2)
