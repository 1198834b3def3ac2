from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.demonstrating import show

from step_hrl.envs.pantry import PantryWorld
from step_hrl.envs.pantry_houses import VARIATIONS
from step_hrl.errors import WorldError
from step_hrl.experts import pantry
from step_hrl.experts.base import expert_for
from step_hrl.prompts import high_level, local_progress, low_level
from step_hrl.types import NOTHING, Episode, Observation, Segment, Step, Task

WORLD = PantryWorld()
TASKS = [task for split in VARIATIONS for task in WORLD.tasks(split)]


def demonstrate(task: Task, max_episode_steps: int = 40) -> Episode:
    return show(WORLD.open().env(), task, max_episode_steps=max_episode_steps)


@pytest.fixture(scope="module")
def demonstrations() -> list[Episode]:
    return [demonstrate(task) for task in TASKS]


def steps_of(demonstrations: list[Episode]) -> list[tuple[Segment, Step]]:
    return [(segment, step) for episode in demonstrations for segment in episode.segments for step in segment.steps]


def test_every_task_is_solved_with_valid_actions(demonstrations: list[Episode]) -> None:
    for episode in demonstrations:
        assert episode.success
        assert episode.score == episode.total_reward == 1.0
        assert len(episode.steps) <= 25
        assert all(step.is_valid_action for step in episode.steps)
        assert episode.steps[-1].next_local_progress is None
        assert episode.task.instruction


def test_each_task_has_its_sequence_of_subtask_types(demonstrations: list[Episode]) -> None:
    types = {
        episode.task.name: tuple(segment.subtask.split()[0] for segment in episode.segments)
        for episode in demonstrations
    }
    assert types == {
        "put-one": ("find", "put"),
        "clean-then-put": ("find", "clean", "put"),
        "put-two": ("find", "put", "find", "put"),
        "examine-in-light": ("find", "examine"),
    }


def test_each_segment_continues_the_previous_one(demonstrations: list[Episode]) -> None:
    for episode in demonstrations:
        completed: tuple[str, ...] = ()
        progress, observation = NOTHING, episode.steps[0].observation
        for segment in episode.segments:
            assert segment.ended_by == "policy"
            assert segment.completed_subtasks == completed
            assert segment.previous_final_progress == progress
            assert segment.first_observation == observation == segment.steps[0].observation
            assert [step.subtask_done for step in segment.steps] == [False] * (segment.duration - 1) + [True]
            completed, progress = (*completed, segment.subtask), segment.final_progress
            observation = segment.steps[-1].next_observation


def test_the_expert_searches_for_objects() -> None:
    episode = demonstrate(Task("pantry", "put-two", 2, "train"))
    first = episode.segments[0]
    decisions = [(step.action, step.local_progress) for step in first.steps]
    assert first.subtask == "find plate"
    assert decisions == [
        ("open fridge", "None"),
        ("go to bathroom", "None"),
        ("go to bedroom", "visited bedroom, bathroom"),
        ("go to hall", "visited bedroom, bathroom"),
        ("go to bedroom", "visited bedroom, bathroom, hall"),
        ("go to kitchen", "visited bedroom, bathroom, hall"),
        ("open cupboard", "visited bedroom, bathroom, hall, kitchen"),
        ("open chest", "visited bedroom, bathroom, hall, kitchen"),
        ("take plate", "visited bedroom, bathroom, hall, kitchen"),
    ]
    assert first.final_progress == "done take plate"


def test_only_visible_objects_are_taken(demonstrations: list[Episode]) -> None:
    takes = [step for _, step in steps_of(demonstrations) if step.action.startswith("take ")]
    assert len(takes) == 1600
    assert all(step.action.removeprefix("take ").title() in (step.observation.look or "") for step in takes)


def test_equal_prompts_get_equal_replies(demonstrations: list[Episode]) -> None:
    replies: dict[str, str] = {}
    for segment, step in steps_of(demonstrations):
        low = low_level.State(segment.subtask, step.local_progress, step.observation)
        utterance = low_level.utterance(low_level.Decision(step.action, step.subtask_done))
        assert replies.setdefault(low_level.render(low), utterance) == utterance
        if step.next_local_progress is not None:
            after = local_progress.State(segment.subtask, step.local_progress, step.action, step.next_observation)
            assert (
                replies.setdefault(local_progress.render(after), step.next_local_progress) == step.next_local_progress
            )
            assert local_progress.parse(step.next_local_progress) == step.next_local_progress


def test_prompts_are_short(demonstrations: list[Episode]) -> None:
    lengths = [
        len(low_level.render(low_level.State(segment.subtask, step.local_progress, step.observation)).split())
        for segment, step in steps_of(demonstrations)
    ]
    assert max(lengths) < 60


def test_max_episode_steps_truncates() -> None:
    episode = demonstrate(Task("pantry", "put-two", 2, "train"), max_episode_steps=3)
    assert len(episode.steps) == 3
    assert episode.steps[-1].truncated
    assert not episode.steps[-1].terminated
    assert episode.segments[-1].ended_by == "limit"
    assert (episode.score, episode.success) == (0.0, False)


def test_unknown_instructions_and_tasks_are_errors() -> None:
    with pytest.raises(WorldError, match="cannot read 'bake a cake"):
        pantry.plan("bake a cake")
    with pytest.raises(WorldError, match="no task"):
        demonstrate(Task("pantry", "bake", 0, "train"))


def test_an_unknown_world_has_no_expert() -> None:
    with pytest.raises(WorldError, match="did you mean pantry"):
        expert_for("pantri")


@given(st.text(), st.text(), st.text(), st.builds(Observation, st.text(), st.none() | st.text(), st.none() | st.text()))
def test_any_prompt_has_an_answer(subtask: str, progress: str, action: str, observation: Observation) -> None:
    assert pantry.decide(low_level.State(subtask, progress, observation)) == ("look", False)
    assert pantry.update(local_progress.State(subtask, progress, action, observation)) == progress


def test_completed_subtasks_are_not_repeated() -> None:
    observation = Observation("")
    named = [
        pantry.next_subtask(high_level.State("put clean mug on shelf", completed, NOTHING, observation))
        for completed in [(), ("find mug",), ("find mug", "clean mug in sink")]
    ]
    assert named == ["find mug", "clean mug in sink", "put mug on shelf"]


def test_every_subtask_that_the_expert_completes_is_achieved(demonstrations: list[Episode]) -> None:
    for episode in demonstrations:
        assert all(pantry.achieved(segment) for segment in episode.segments)
        # Without its last action, no subtask is achieved.
        cut = [replace(segment, steps=segment.steps[:-1]) for segment in episode.segments]
        assert not any(pantry.achieved(segment) for segment in cut)
    assert pantry.achieved(replace(demonstrations[0].segments[0], subtask="sing a song")) is None
