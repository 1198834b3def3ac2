"""The Python interface: a trained policy and an expert play in this process."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

import step_hrl
from step_hrl.config import Recipe
from step_hrl.data.episode_files import read_episodes
from step_hrl.envs.pantry import PantryWorld
from step_hrl.errors import DataError, RecipeError, WorldError
from step_hrl.pipeline import Pipeline
from step_hrl.recipes import load_recipe
from step_hrl.types import Role
from tests.cli.test_main import PANTRY


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """A pantry run with a trained policy, evaluated with and without the expert in some roles."""
    folder = tmp_path_factory.mktemp("api")
    (folder / "small.yaml").write_text(PANTRY)
    overrides = [f"output={folder / 'run'}", "evaluation.per_task=2", "generation.mixed_precision='no'"]
    recipe: Recipe = load_recipe(folder / "small.yaml", overrides)
    pipeline = Pipeline(recipe, Console(file=io.StringIO()))
    pipeline.run()
    return pipeline


def test_a_loaded_agent_plays_as_the_evaluation_did(run: Pipeline) -> None:
    stage = run.evaluation("seen", run.policy_folder)
    [first, *_] = read_episodes(stage.folder / "episodes.jsonl")
    agent = step_hrl.load_agent(run.policy_folder)
    assert agent.agent.name == "step_hrl"
    env = PantryWorld().open().env()
    task = next(job.task for job in stage.jobs if job.id == first.id)
    episode = step_hrl.play(agent, env, task, max_episode_steps=run.recipe.world.max_episode_steps)
    assert [step.action for step in episode.steps] == [step.action for step in first.steps]
    assert episode.provenance["engine"] == "transformers"


def test_what_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no policy there \(no recipe.yaml\); give the folder `policy`"):
        step_hrl.load_agent(tmp_path)
    with pytest.raises(WorldError, match="did you mean pantry"):
        step_hrl.load_expert("pantri")
    with pytest.raises(RecipeError, match="no such recipe"):
        step_hrl.load_recipe(tmp_path / "none.yaml")


def test_an_expert_plays_with_and_without_noise() -> None:
    world = PantryWorld()
    env, task = world.open().env(), world.tasks("unseen")[0]
    clean = step_hrl.play(step_hrl.load_expert("pantry"), env, task)
    noisy = step_hrl.play(step_hrl.load_expert("pantry", action_noise=0.5), env, task, seed=1)
    assert clean.success
    assert not any(step.is_noise for step in clean.steps)
    assert any(step.is_noise for step in noisy.steps)


def test_the_oracle_answers_for_its_roles_alone(run: Pipeline) -> None:
    card = (run.policy_folder / "README.md").read_text()
    scores: dict[str, float] = {}
    for roles in ((Role.HIGH,), (Role.LOW,), tuple(Role)):
        stage = run.evaluation("seen", run.policy_folder, oracle=roles)
        summary = run.do(stage)
        scores[stage.label] = summary.overall.mean_score
        for episode in stage.load():
            assert episode.provenance["expert"].startswith("pantry search")
            assert not any(role in step.usages for role in roles for step in episode.steps)
    assert list(scores) == [f"behavior_cloning-oracle-{name}" for name in ("high", "low", "high+low+progress")]
    assert scores["behavior_cloning-oracle-high+low+progress"] == 1.0
    assert (run.policy_folder / "README.md").read_text() == card, "a policy's card knows no oracle"
