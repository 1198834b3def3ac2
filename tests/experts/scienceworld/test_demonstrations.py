"""The expert in a small world of doors and one animal without a simulator, and in the real ScienceWorld."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.demonstrating import show

from step_hrl.agents.registry import agent_for
from step_hrl.config import AgentConfig, FlatConfig, NoHierarchyConfig
from step_hrl.data.transitions import transitions, trust_policy
from step_hrl.envs.base import Info
from step_hrl.experts.audit import audit, conflicting
from step_hrl.experts.scienceworld import cleaning, high_level, low_level, progress, segmentation
from step_hrl.experts.scienceworld.house import NEIGHBOURS
from step_hrl.prompts.text import INVENTORY_CHARACTERS, LOOK_CHARACTERS
from step_hrl.types import Episode, Observation, Role, Step, Task

GOLD = ["look around", "open door to kitchen", "open door to kitchen", "go to kitchen", "open door to outside"]
GOLD += ["go to outside", "focus on egg parrot"]


class House:
    """Rooms, doors, and a parrot egg outside; ``instruction`` may be one that no rule covers."""

    def __init__(self, instruction: str = "Your task is to find the animal with the longest life span.") -> None:
        self.instruction = instruction
        self.room = "hallway"
        self.open: set[frozenset[str]] = set()

    def reset(self, task: Task, *, seed: int = 0) -> tuple[Observation, Info]:
        self.room, self.open = "hallway", set()
        return self._see(""), {"instruction": self.instruction}

    def step(self, action: str) -> tuple[Observation, float, bool, bool, Info]:
        answer, won = "No known action matches that input.", False
        verb, _, room = action.rpartition(" to ")
        if verb == "open door" and room in NEIGHBOURS[self.room]:
            door = frozenset((self.room, room))
            answer = "The door is already open." if door in self.open else "The door is now open."
            self.open.add(door)
        elif verb == "go" and frozenset((self.room, room)) in self.open:
            self.room, answer = room, f"You move to the {room}."
        elif action in ("focus on parrot egg", "focus on egg parrot") and self.room == "outside":
            answer, won = "You focus on the parrot egg.", True
        elif action == "look around":
            answer = "You look around."
        info: Info = {"score": float(won), "success": won, "is_valid_action": not answer.startswith("No known")}
        return self._see(answer), float(won), won, False, info

    def gold_actions(self, task: Task) -> list[str]:
        return GOLD

    def _see(self, answer: str) -> Observation:
        things = "axe, baby ant, parrot egg" if self.room == "outside" else "picture"
        doors = (
            f"{room} {'open' if frozenset((self.room, room)) in self.open else 'closed'}"
            for room in NEIGHBOURS[self.room]
        )
        return Observation(answer, f"{self.room}: {things} | Doors: {', '.join(doors)}", "orange")


TASK = Task("scienceworld", "lifespan-longest-lived", 0, "train")


def assert_follows_from_prompts(episode: Episode) -> None:
    """Each progress update, and in rule-based episodes each decision, is a function of its role's prompt."""
    rules = episode.provenance["path"] == "rules"
    for segment in episode.segments:
        if rules:
            named = high_level.next_subtask(
                episode.task.instruction,
                segment.completed_subtasks,
                segment.previous_final_progress,
                segment.first_observation,
            )
            assert named == segment.subtask
        for step in segment.steps:
            if rules:
                decision = low_level.act(segment.subtask, step.local_progress, step.observation)
                assert decision == (step.action, step.subtask_done)
            if step.next_local_progress is not None:
                updated = progress.update(segment.subtask, step.local_progress, step.action, step.next_observation)
                assert updated == step.next_local_progress


def test_rules_solve_the_tasks_that_they_cover() -> None:
    episode = show(House(), TASK)
    assert [segment.subtask for segment in episode.segments] == ["go to the outside", "focus on the parrot egg"]
    assert [step.action for step in episode.steps] == [
        "open door to kitchen",
        "go to kitchen",
        "open door to outside",
        "go to outside",
        "focus on parrot egg",
    ]
    assert episode.success
    assert episode.provenance["path"] == "rules"
    assert episode.steps[-1].terminated
    assert episode.steps[-1].next_local_progress is None
    assert_follows_from_prompts(episode)


def episode_with_a_noise_subtask() -> Episode:
    """The first demonstration in which a noise subtask names an absent object."""
    episodes = (show(House(), TASK, action_noise=0.3, repeat=repeat) for repeat in range(99))
    return next(episode for episode in episodes if any(segment.is_noise for segment in episode.segments))


def test_a_noise_subtask_is_given_up() -> None:
    episode = episode_with_a_noise_subtask()
    assert episode.success
    noisy = next(number for number, segment in enumerate(episode.segments) if segment.is_noise)
    given_up, following = episode.segments[noisy], episode.segments[noisy + 1]
    thing = given_up.subtask.removeprefix("focus on the ")
    assert thing not in (given_up.first_observation.look or "")
    assert (given_up.steps[-1].action, given_up.steps[-1].subtask_done) == ("look around", True)
    assert given_up.ended_by == "policy"
    assert given_up.final_progress == following.previous_final_progress == f"missing: {thing}"
    assert given_up.subtask in following.completed_subtasks
    assert any(segment.subtask == "focus on the parrot egg" for segment in episode.segments[noisy + 1 :])


def test_a_noise_subtask_is_never_cloned() -> None:
    episode = episode_with_a_noise_subtask()
    named = [sample for sample in transitions(episode) if sample.role is Role.HIGH]
    assert [sample.clone_mask for sample in named] == [not segment.is_noise for segment in episode.segments]
    low = [sample for sample in transitions(episode) if sample.role is Role.LOW]
    assert any(sample.clone_mask and sample.utterance == "look around; True" for sample in low)


@pytest.mark.parametrize("config", [FlatConfig(), NoHierarchyConfig()])
def test_agents_without_subtasks_do_not_clone_the_steps_of_a_noise_subtask(config: AgentConfig) -> None:
    episode = episode_with_a_noise_subtask()
    cut = agent_for(config).transitions(episode, trust_policy)
    acted = [sample for sample in cut if sample.role is Role.LOW]
    noise = [bool(segment.is_noise) or step.is_noise for segment in episode.segments for step in segment.steps]
    assert [sample.clone_mask for sample in acted] == [not is_noise for is_noise in noise]
    assert not any("missing" in sample.utterance for sample in cut)


def test_gold_actions_are_cleaned_for_tasks_without_rules() -> None:
    episode = show(House("Your task is to dance."), TASK)
    assert episode.provenance["path"] == "renamed"
    assert [step.action for step in episode.steps][-1] == "focus on parrot egg"
    assert len(episode.steps) == 5
    assert episode.total_reward == episode.score == 1.0
    assert_follows_from_prompts(episode)


def test_max_episode_steps_truncates() -> None:
    episode = show(House(), TASK, max_episode_steps=3)
    assert len(episode.steps) == 3
    assert episode.steps[-1].truncated
    assert episode.segments[-1].ended_by == "limit"
    assert not episode.success


def a_step(before: Observation, action: str, after: Observation) -> Step:
    return Step(before, "None", action, False, 0.0, after, None)


def test_cleaning_removes_actions_without_effect_and_names_objects_as_observed() -> None:
    before, after = Observation("", "kitchen: jug", "orange"), Observation("", "kitchen: jug", "jug")
    steps = [
        a_step(before, "look around", Observation("You look around.")),
        a_step(before, "open fridge", Observation("The fridge is already open.")),
        a_step(before, "pick up jug", Observation("You move the jug to the inventory.", "kitchen: jug", "orange")),
        a_step(after, "move object to red box", Observation("You move the pillow to the red box.")),
        a_step(after, "wait1", Observation("You decide to wait for 1 iterations.")),
    ]
    assert cleaning.prune(steps) == ["move object to red box", "wait1"]
    assert cleaning.rename(steps) == ["move pillow to red box", "wait1"]


def test_any_path_is_segmented_into_subtasks() -> None:
    actions = ["open door to kitchen", "go to kitchen", "pick up apple seed", "0", "wait1", "wait1", "sing"]
    assert segmentation.cut(actions) == [
        ("go", "go to the kitchen", 0, 2),
        ("get", "find the apple seed and pick it up", 2, 4),
        ("wait", "wait", 4, 6),
        ("other", "sing", 6, 7),
    ]


@pytest.fixture(scope="module")
def demonstrations() -> Iterator[list[Episode]]:
    pytest.importorskip("scienceworld")
    from step_hrl.envs.scienceworld import ScienceWorld

    world = ScienceWorld()
    factory = world.open()
    env = factory.env()
    yield [show(env, task, max_episode_steps=50) for task in world.tasks("train", per_task=1)]
    factory.close()


@pytest.mark.scienceworld
def test_every_scienceworld_task_is_solved(demonstrations: list[Episode]) -> None:
    assert len(demonstrations) == 24
    for episode in demonstrations:
        assert episode.success, episode.task.key
        assert episode.provenance["path"] == "rules"
        assert episode.total_reward == pytest.approx(episode.score)
        assert all(len(step.observation.look or "") <= LOOK_CHARACTERS for step in episode.steps)
        assert all(len(step.observation.inventory or "") <= INVENTORY_CHARACTERS for step in episode.steps)
        assert_follows_from_prompts(episode)


@pytest.mark.scienceworld
def test_scienceworld_demonstrations_have_no_conflicts(demonstrations: list[Episode]) -> None:
    assert audit(demonstrations)["all"].paths == {"rules": 24}
    samples = [sample for episode in demonstrations for sample in transitions(episode)]
    assert not any(conflicting(samples).values())
