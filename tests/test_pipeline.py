"""All stages of a recipe on a tiny model: what is written, resumed and repeated."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from rich.console import Console

from step_hrl.config import Recipe
from step_hrl.data.episode_files import EpisodeWriter, read_episodes
from step_hrl.errors import DataError
from step_hrl.pipeline import Pipeline
from step_hrl.recipes import load_recipe
from step_hrl.runs import manifest
from step_hrl.types import Episode, Observation, Segment
from tests.cli.test_main import PANTRY


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(PANTRY)
    return tmp_path / "runs" / "small"


def recipe(*overrides: str) -> Recipe:
    return load_recipe(Path("small.yaml"), overrides)


def demonstrate(pipeline: Pipeline) -> list[Episode]:
    return pipeline.do(pipeline.demonstrations)


def output_of_run(*overrides: str) -> str:
    output = io.StringIO()
    Pipeline(recipe(*overrides), Console(file=output, width=200)).run()
    return output.getvalue()


def snapshot(folder: Path) -> dict[str, int]:
    """The modification time of every file except locks."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".lock")]
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in files}


def test_a_second_run_repeats_only_stages_with_changed_inputs(folder: Path) -> None:
    output = output_of_run("evaluation.untrained_per_task=1")
    for name in ("demonstrations/episodes.jsonl", "demonstrations/audit.json", "behavior_cloning/policy/config.json"):
        assert (folder / name).is_file(), name
    for label in ("untrained", "behavior_cloning"):
        summary = json.loads((folder / "evaluation" / f"{label}-seen" / "summary.json").read_text())
        assert summary["provenance"]["split"] == "seen"
        assert summary["provenance"]["seed"] == "0"
        assert summary["provenance"]["pantry_layouts"]
    assert "seen, untrained" in output
    assert "seen, behavior cloning" in output
    assert load_recipe(folder / "recipe.yaml") == recipe("evaluation.untrained_per_task=1")
    policy = folder / "behavior_cloning" / "policy"
    assert load_recipe(policy / "recipe.yaml") == recipe("evaluation.untrained_per_task=1")
    assert "pantry" in ModelCard.load(policy / "README.md").data.to_dict()["tags"]

    first = snapshot(folder)
    second = output_of_run("evaluation.untrained_per_task=1")
    unchanged = {name for name, changed_at in snapshot(folder).items() if first.get(name) == changed_at}
    assert {name for name in first if not name.endswith(("summary.json", "audit.json"))} <= unchanged
    assert "policy exists already" in second
    assert "policy exists already" in output_of_run("behavior_cloning.trackers=[]")

    changed = output_of_run("behavior_cloning.epochs=2")
    assert "inputs have changed (settings.epochs)" in changed
    assert load_recipe(folder / "recipe.yaml") == recipe("behavior_cloning.epochs=2")
    assert (folder / "behavior_cloning.previous-1" / "policy").is_dir()
    assert (folder / "demonstrations" / "episodes.jsonl").stat().st_mtime_ns == first["demonstrations/episodes.jsonl"]


def test_restart_from_repeats_a_stage_and_all_later_ones(folder: Path) -> None:
    output_of_run()
    before = snapshot(folder)
    pipeline = Pipeline(recipe(), Console(file=(output := io.StringIO()), width=200))
    pipeline.restart_from("behavior_cloning")
    assert "behavior_cloning: moved to behavior_cloning.previous-1" in output.getvalue()
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {
        "demonstrations",
        "behavior_cloning.previous-1",
        "evaluation.previous-1",
    }
    pipeline.run()
    after = snapshot(folder)
    assert before.keys() <= after.keys()
    repeated = {
        name.split("/")[0] for name in before if before[name] != after[name] and not name.endswith("audit.json")
    }
    assert {"behavior_cloning", "evaluation"} <= repeated
    assert "demonstrations" not in repeated


def test_more_demonstrations_are_appended(folder: Path) -> None:
    console = Console(file=io.StringIO())
    demonstrate(Pipeline(recipe(), console))
    few = read_episodes(folder / "demonstrations" / "episodes.jsonl")
    demonstrate(Pipeline(recipe("demonstrations.per_task=5"), console))
    more = read_episodes(folder / "demonstrations" / "episodes.jsonl")
    assert len(few) == 2
    assert len(more) == 5
    assert more[:2] == few


def test_evaluation_is_the_same_for_the_same_seed(folder: Path) -> None:
    console = Console(file=io.StringIO())
    pipeline = Pipeline(recipe("evaluation.per_task=3"), console)
    demonstrate(pipeline)
    policy = pipeline.do(pipeline.behavior_cloning())
    assert "Not evaluated yet." in (policy / "README.md").read_text()
    pipeline.do(pipeline.evaluation("seen", policy))
    assert "|  | seen |\n| --- | --- |\n| episodes | 3 |" in (policy / "README.md").read_text()
    file = folder / "evaluation" / "behavior_cloning-seen" / "episodes.jsonl"
    first = {episode.id: episode.segments for episode in read_episodes(file)}
    file.unlink()
    pipeline.do(pipeline.evaluation("seen", policy))
    assert {episode.id: episode.segments for episode in read_episodes(file)} == first
    assert len(first) == 3


STAGE_2 = (
    "collection.per_task=2",
    "collection.repeats=2",
    "offline_rl.epochs=2",
    "offline_rl.critic_warmup=1",
    "offline_rl.learning_rate=0.01",
    "offline_rl.checkpoint_every=2",
    "offline_rl.keep_checkpoints=3",
    "offline_rl.tokens_per_batch=2048",
    "offline_rl.validation_fraction=0.34",
    "offline_rl.selection.split=seen",
    "offline_rl.selection.per_task=1",
)


@pytest.mark.slow
def test_stage_2_collects_trains_selects_and_is_evaluated_beside_stage_1(folder: Path) -> None:
    output = output_of_run(*STAGE_2, "collection.rounds=2")
    assert "seen, behavior cloning" in output
    assert "seen, offline RL" in output
    for number in (1, 2):
        episodes = read_episodes(folder / "collection" / f"round-{number}" / "episodes.jsonl")
        assert len(episodes) == 4
        assert {e.provenance["temperature"] for e in episodes} == {"1.0"}
        round_folder = folder / "offline_rl" / f"round-{number}"
        selection = json.loads((round_folder / "selection.json").read_text())
        assert selection["split"] == "seen"
        assert selection["scores"][selection["chosen"]] == max(selection["scores"].values())
        assert len(selection["scores"]) == 3
        policy = round_folder / "policy"
        assert (policy / "critics.safetensors").is_file()
        assert not (policy / "optimizers.pt").exists()
        card = (policy / "README.md").read_text()
        assert f"| training | offline RL (round {number}), from the policy of " in card
        assert f"| checkpoint | {selection['chosen']}, the best on seen |" in card
        assert f"| collected episodes | {4 * number} on the split train |" in card
        assert ("\n| put-one | " in card) == (number == 2), "only the last round is scored"
        chosen = round_folder / selection["chosen"] / "model.safetensors"
        assert manifest.digest_file(policy / "model.safetensors") == manifest.digest_file(chosen)
    summary = json.loads((folder / "evaluation" / "offline_rl-round-2-seen" / "summary.json").read_text())
    assert set(summary["value_rank_correlation"]) <= {"high", "low", "progress"}
    plays = [{e.id for e in read_episodes(folder / "collection" / f"round-{n}" / "episodes.jsonl")} for n in (1, 2)]
    assert not plays[0] & plays[1]

    first = snapshot(folder)
    second = output_of_run(*STAGE_2, "collection.rounds=2")
    unchanged = {name for name, changed_at in snapshot(folder).items() if first.get(name) == changed_at}
    assert {name for name in first if not name.endswith(("summary.json", "audit.json"))} <= unchanged
    assert "offline RL: " in second
    assert (
        Pipeline(recipe(*STAGE_2), Console(quiet=True)).policy_folder.resolve() == folder / "offline_rl/round-1/policy"
    )


def test_collected_episodes_depend_on_the_seed_and_not_on_the_batch(folder: Path) -> None:
    quiet = Console(file=io.StringIO())
    pipeline = Pipeline(recipe(*STAGE_2, "generation.mixed_precision='no'"), quiet)
    demonstrate(pipeline)
    pipeline.do(pipeline.behavior_cloning())
    together = {episode.id: episode.segments for episode in pipeline.do(pipeline.collection())}
    pipeline.context.layout.collected(1).unlink()
    one_by_one = Pipeline(recipe(*STAGE_2, "generation.mixed_precision='no'", "evaluation.concurrent=1"), quiet)
    alone = {episode.id: episode.segments for episode in one_by_one.do(one_by_one.collection())}
    assert {name: [s.subtask for s in segments] for name, segments in alone.items()} == {
        name: [s.subtask for s in segments] for name, segments in together.items()
    }
    assert len({segments[0].subtask or str(segments[0].unreadable) for segments in alone.values()}) > 1


def test_collected_episodes_load_in_one_order_for_any_order_in_the_file(folder: Path) -> None:
    pipeline = Pipeline(recipe(*STAGE_2), Console(file=io.StringIO()))
    demonstrate(pipeline)
    pipeline.do(pipeline.behavior_cloning())
    pipeline.do(pipeline.collection())
    first = [episode.id for episode in pipeline.collection().load()]
    file = pipeline.context.layout.collected(1)
    file.write_text("".join(reversed(file.read_text().splitlines(keepends=True))))
    assert [episode.id for episode in pipeline.collection().load()] == first


def test_stage_2_refuses_incomplete_or_inconsistent_episodes(folder: Path) -> None:
    pipeline = Pipeline(recipe(*STAGE_2), Console(file=io.StringIO()))
    demonstrate(pipeline)
    pipeline.do(pipeline.behavior_cloning())
    with pytest.raises(DataError, match="none of 4 collected episodes; run `step-hrl collect`"):
        pipeline.do(pipeline.offline_rl())
    pipeline.context.layout.collected(1).parent.mkdir(parents=True)
    pipeline.context.layout.collected(1).touch()
    with pytest.raises(DataError, match="none of 4 collected episodes; run `step-hrl collect`"):
        pipeline.do(pipeline.offline_rl())
    pipeline.do(pipeline.collection())
    more = Pipeline(recipe(*STAGE_2, "collection.repeats=3"), Console(file=io.StringIO()))
    with pytest.raises(DataError, match="4 of 6 collected episodes; run `step-hrl collect`"):
        more.do(more.offline_rl())
    remove_rewards(pipeline.demonstrations.file)
    with pytest.raises(DataError, match=r"demonstrations/episodes.jsonl: episode pantry/.*: rewards add up to 0"):
        pipeline.do(pipeline.offline_rl())
    pipeline.demonstrations.file.unlink()
    demonstrate(pipeline)
    file = folder / "behavior_cloning" / "policy" / "tokenizer.json"
    file.write_text(file.read_text() + " ")
    with pytest.raises(DataError, match=r"episodes.jsonl: episode pantry/.*: collected with tokenizer"):
        pipeline.do(pipeline.offline_rl())
    assert not (folder / "offline_rl").exists()


def remove_rewards(file: Path) -> None:
    """Set all rewards in a file of episodes to 0."""
    episodes = read_episodes(file)
    file.unlink()
    with EpisodeWriter(file) as writer:
        for episode in episodes:
            cut = [replace(s, steps=tuple(replace(step, reward=0.0) for step in s.steps)) for s in episode.segments]
            writer.write(replace(episode, segments=tuple(cut)))


def test_validation_episodes_and_the_subtask_reward_change_the_critics(folder: Path) -> None:
    quiet = Console(file=io.StringIO())
    digests: set[str] = set()
    for change in ("seed=0", "offline_rl.validation_fraction=0", "offline_rl.subtask_reward=trust_policy"):
        pipeline = Pipeline(recipe(*STAGE_2, "offline_rl.keep_checkpoints=1", change), quiet)
        demonstrate(pipeline)
        pipeline.do(pipeline.behavior_cloning())
        pipeline.do(pipeline.collection())
        replace_by_rejected_subtasks(pipeline)
        digests.add(manifest.digest_file(pipeline.do(pipeline.offline_rl()) / "critics.safetensors"))
    assert len(digests) == 3


def test_a_validation_split_is_demonstrated_and_measured_but_not_trained_on(folder: Path) -> None:
    quiet = Console(file=io.StringIO())
    without = Pipeline(recipe("behavior_cloning.validation_fraction=0"), quiet)
    demonstrate(without)
    trained_without = manifest.digest_file(without.do(without.behavior_cloning()) / "model.safetensors")
    shutil.rmtree(folder)
    pipeline = Pipeline(recipe("behavior_cloning.validation_fraction=0", "demonstrations.validation_split=seen"), quiet)
    splits = [episode.task.split for episode in demonstrate(pipeline)]
    policy = pipeline.do(pipeline.behavior_cloning())
    metrics = [json.loads(line) for line in (policy.parent / "metrics.jsonl").read_text().splitlines()]
    training = json.loads((policy.parent / "training.json").read_text())
    assert splits == ["train", "train", "seen"]
    assert manifest.digest_file(policy / "model.safetensors") == trained_without
    assert "validation/exact_match_low" in metrics[-1]
    assert (training["demonstrations"], training["validation"]) == (2, 1)


def replace_by_rejected_subtasks(pipeline: Pipeline) -> None:
    """Replace a round's episodes by demonstrations whose subtasks the verifier rejects."""
    file = pipeline.context.layout.collected(1)
    played = read_episodes(file)
    file.unlink()
    with EpisodeWriter(file) as writer:
        for replaced, episode in zip(played, cycle(pipeline.demonstrations.load()), strict=False):
            segments: list[Segment] = []
            for segment in episode.segments:
                denied = tuple(replace(step, next_observation=Observation("No.")) for step in segment.steps)
                segments.append(replace(segment, steps=denied))
            replacement = replace(episode, id=replaced.id, segments=tuple(segments), provenance=replaced.provenance)
            writer.write(replacement)


def test_the_reference_preset_sets_the_deviations_of_the_public_code() -> None:
    paper, reference = (load_recipe_text(f"preset: {preset}\noffline_rl: {{}}") for preset in ("paper", "reference"))
    assert paper.offline_rl is not None
    assert reference.offline_rl is not None
    deviations = {
        name: (getattr(paper.offline_rl, name), getattr(reference.offline_rl, name))
        for name in ("policy_loss", "expectile", "q_read_at", "discount", "subtask_reward")
    }
    assert deviations == {
        "policy_loss": ("advantage_weighted_regression", "advantage"),
        "expectile": (0.7, 0.05),
        "q_read_at": ("utterance_end", "state_end"),
        "discount": ("step", "decision"),
        "subtask_reward": ("verified", "trust_policy"),
    }
    assert (paper.offline_rl.selection.split, reference.offline_rl.selection.split) == ("dev", "test")
    assert (paper.collection.temperature, reference.collection.temperature) == (1.0, 0.0)
    assert (paper.agent.unreadable_action, reference.agent.unreadable_action) == (None, "None")
    assert (paper.agent.complete_on_invalid_action, reference.agent.complete_on_invalid_action) == (False, True)
    assert (paper.evaluation.failed_as_zero, reference.evaluation.failed_as_zero) == (False, True)
    mixed = load_recipe_text("preset: reference\noffline_rl: {expectile: 0.9}")
    assert mixed.offline_rl is not None
    assert (mixed.offline_rl.expectile, mixed.offline_rl.discount) == (0.9, "decision")
    assert load_recipe_text("preset: reference").offline_rl is None


def load_recipe_text(text: str) -> Recipe:
    return Recipe.model_validate({"name": "n", "world": {"name": "pantry"}, **yaml.safe_load(text)})
