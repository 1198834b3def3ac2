from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.alfworld_fixtures import write_games
from tests.demonstrating import show

from step_hrl.data.transitions import transitions
from step_hrl.envs.alfworld import Alfworld, AlfworldOptions
from step_hrl.envs.alfworld_games import TASK_TYPES
from step_hrl.errors import WorldError
from step_hrl.experts import alfworld
from step_hrl.experts.alfworld import search
from step_hrl.experts.alfworld.roles import achieved, decide, mistake, next_subtask, update
from step_hrl.experts.alfworld.subtasks import parse
from step_hrl.experts.alfworld.texts import Goal, read_instruction
from step_hrl.experts.audit import conflicting
from step_hrl.experts.base import expert_for
from step_hrl.prompts import high_level, local_progress, low_level
from step_hrl.prompts.low_level import Decision
from step_hrl.types import NOTHING, Episode, Observation, Role, Segment, Step

ROOM = "Room: bed 1, cabinet 1-2, desk 1, drawer 1-2, fridge 1, microwave 1, sidetable 1, sinkbasin 1."
EVERYWHERE = (
    "checked drawer 2, sidetable 1, bed 1, cabinet 1, cabinet 2, desk 1, drawer 1, fridge 1, microwave 1, sinkbasin 1"
)


def seen(look: str = "", *, text: str = "", held: str = "") -> Observation:
    return Observation(text, f"{look} {ROOM}".strip(), held)


@pytest.mark.parametrize(
    ("instruction", "goal"),
    [
        ("put some pen on sidetable", Goal("put", "pen", "sidetable")),
        ("put a pen in drawer", Goal("put", "pen", "drawer")),
        ("put a clean mug in cabinet", Goal("clean", "mug", "cabinet")),
        ("cool some mug and put it in cabinet", Goal("cool", "mug", "cabinet")),
        ("put a hot mug in fridge", Goal("heat", "mug", "fridge")),
        ("find two book and put them in bed", Goal("two", "book", "bed")),
        ("put two book in bed", Goal("two", "book", "bed")),
        ("examine the book with the desklamp", Goal("look", "book", "desklamp")),
        ("look at book under the desklamp", Goal("look", "book", "desklamp")),
    ],
)
def test_instructions_are_parsed(instruction: str, goal: Goal) -> None:
    assert read_instruction(instruction) == goal


def test_unknown_instructions_and_observations_are_refused() -> None:
    with pytest.raises(WorldError, match="cannot read 'make tea'"):
        read_instruction("make tea")
    with pytest.raises(WorldError, match="cannot read 'a hall'"):
        decide(low_level.State("find pen", NOTHING, Observation("", "a hall", "")))


@pytest.mark.parametrize(
    ("instruction", "completed", "progress", "held", "subtask"),
    [
        ("put some pen on drawer", (), NOTHING, "", "find pen"),
        ("put some pen on drawer", ("find pen",), "took pen 2 from bed 1", "pen 2", "put pen 2 in drawer 1"),
        ("heat some mug and put it in bed", ("find mug",), "took mug 1 from bed 1", "mug 1", "heat mug 1"),
        ("heat some mug and put it in bed", ("find mug", "heat mug 1"), "", "mug 1", "put mug 1 in bed 1"),
        # Another mug was heated.
        ("heat some mug and put it in bed", ("find mug", "heat mug 2"), "", "mug 1", "heat mug 1"),
        ("examine the cd with the desklamp", ("find cd",), "took cd 1 from bed 1", "cd 1", "look cd 1 under desklamp"),
        ("put two cd in bed", ("find cd",), "took cd 3 from desk 1", "cd 3", "put cd 3 from desk 1 in bed 1"),
        (
            "put two cd in drawer",
            ("find cd", "put cd 3 from desk 1 in drawer 2"),
            "done put cd 3 from desk 1 in drawer 2",
            "",
            "find cd, not cd 3, from desk 1 on",
        ),
        (
            "put two cd in drawer",
            ("find cd", "put cd 3 from desk 1 in drawer 2", "find cd, not cd 3, from desk 1 on"),
            "took cd 1 from bed 1",
            "cd 1",
            "put cd 1 from bed 1 in drawer 2",
        ),
        # The agent holds another object.
        ("put some pen on drawer", ("find pen",), "took pen 2 from bed 1", "mug 1", "find pen"),
    ],
)
def test_the_next_subtask_follows_from_the_prompt(
    instruction: str, completed: tuple[str, ...], progress: str, held: str, subtask: str
) -> None:
    assert next_subtask(high_level.State(instruction, completed, progress, seen(held=held))) == subtask


@pytest.mark.parametrize(
    ("subtask", "progress", "observation", "action"),
    [
        ("find pen", NOTHING, seen(), "go to desk 1"),
        ("find pen", NOTHING, seen("At desk 1: cd 1. At drawer 1: closed."), "go to sidetable 1"),
        ("find pen", "checked desk 1, sidetable 1", seen("At drawer 1: closed."), "open drawer 1"),
        ("find pen", "checked desk 1, sidetable 1", seen("At drawer 2: closed."), "go to drawer 1"),
        ("find pen", "checked desk 1, sidetable 1, drawer 1", seen("At drawer 1: nothing."), "go to drawer 2"),
        ("find pen", NOTHING, seen("At desk 1: cd 1. At drawer 1: cd 2, pen 3."), "take pen 3 from drawer 1; True"),
        # Once every place is checked, the search starts over.
        ("find pen", EVERYWHERE, seen("At drawer 2: nothing."), "go to desk 1"),
        ("find pen", EVERYWHERE, seen("At desk 1: nothing."), "go to sidetable 1"),
        ("find pen, not pen 3, from drawer 2 on", NOTHING, seen("At drawer 1: pen 3."), "go to drawer 2"),
        # The agent holds another object: it puts it down here, or goes where it can.
        ("find pen", NOTHING, seen("At desk 1: pen 1.", held="cd 1"), "move cd 1 to desk 1"),
        ("find pen", NOTHING, seen("At bed 1: nothing.", text="Nothing happens.", held="cd 1"), "go to desk 1"),
        ("heat mug 1", NOTHING, seen("At desk 1: cd 1.", held="mug 1"), "go to microwave 1"),
        ("heat mug 1", NOTHING, seen("At microwave 1: closed.", held="mug 1"), "heat mug 1 with microwave 1; True"),
        ("cool mug 1", NOTHING, seen(held="mug 1"), "go to fridge 1"),
        ("clean mug 1", NOTHING, seen(held="mug 1"), "go to sinkbasin 1"),
        ("put mug 1 in cabinet 2", NOTHING, seen(held="mug 1"), "go to cabinet 2"),
        ("put mug 1 in cabinet 2", NOTHING, seen("At cabinet 2: closed.", held="mug 1"), "open cabinet 2"),
        ("put cd 1 from desk 1 in bed 1", NOTHING, seen("At bed 1: nothing."), "move cd 1 to bed 1; True"),
        ("look cd 1 under desklamp", NOTHING, seen("At bed 1: nothing."), "go to desk 1"),
        ("look cd 1 under desklamp", NOTHING, seen("At desk 1: desklamp 2."), "use desklamp 2; True"),
        ("dance", NOTHING, seen(), "look"),
    ],
)
def test_the_next_action_follows_from_the_prompt(
    subtask: str, progress: str, observation: Observation, action: str
) -> None:
    action, _, done = action.partition("; ")
    assert decide(low_level.State(subtask, progress, observation)) == Decision(action, done == "True")


@pytest.mark.parametrize(
    ("subtask", "progress", "observation", "updated"),
    [
        ("find pen", NOTHING, seen("At desk 1: cd 1. At drawer 1: closed."), "checked desk 1"),
        ("find pen", "checked desk 1", seen("At drawer 1: nothing."), "checked desk 1, drawer 1"),
        ("find pen", "checked drawer 1, desk 1", seen("At drawer 2: cd 1."), "checked drawer 1, desk 1, drawer 2"),
        ("find pen", "checked drawer 2", seen("At drawer 1: cd 1."), "checked drawer 2, drawer 1"),
        # A place that is checked again keeps its position: the list only grows.
        ("find pen", "checked drawer 1, drawer 2", seen("At drawer 1: cd 1."), "checked drawer 1, drawer 2"),
        ("find pen", EVERYWHERE, seen("At desk 1: cd 1."), "checked desk 1"),
        # Listed although the pen is visible: after an invalid action the search must go on.
        ("find pen", "checked desk 1", seen("At drawer 1: pen 1."), "checked desk 1, drawer 1"),
        ("find pen, not pen 1, from bed 1 on", NOTHING, seen("At drawer 1: pen 1."), "checked drawer 1"),
        ("find pen", "checked desk 1", seen(text="Nothing happens."), "checked desk 1"),
        ("find pen", "checked bed 1", seen(text="You pick up the pen 1 from the desk 1."), "took pen 1 from desk 1"),
        ("find pen", "checked bed 1", seen(text="You pick up the cd 1 from the desk 1."), "checked bed 1"),
        ("heat mug 1", NOTHING, seen("At desk 1: cd 1."), NOTHING),
        ("heat mug 1", NOTHING, seen(text="You heat the mug 1 using the microwave 1."), "done heat mug 1"),
        ("put cd 1 in bed 1", NOTHING, seen(text="You move the cd 1 to the bed 1."), "done put cd 1 in bed 1"),
        ("look cd 1 under desklamp", NOTHING, seen("At desk 1: cd 2."), "checked desk 1"),
    ],
)
def test_the_next_progress_follows_from_the_prompt(
    subtask: str, progress: str, observation: Observation, updated: str
) -> None:
    assert update(local_progress.State(subtask, progress, "go", observation)) == updated


@given(st.lists(st.sampled_from([f"{kind} {n}" for kind in ("drawer", "shelf") for n in range(1, 13)]), unique=True))
def test_progress_lists_exactly_the_checked_places(order: list[str]) -> None:
    progress = NOTHING
    for place in order:
        progress = update(local_progress.State("find pen", progress, "go", seen(f"At {place}: nothing.")))
    assert sorted(search.checked(progress)) == sorted(order)
    assert len(progress) < 8 + 12 * 2 * len("drawer 12, ")


@pytest.mark.parametrize(
    "written",
    [
        "find pen",
        "find cd, not cd 3, from desk 1 on",
        "heat mug 1",
        "put cd 3 from desk 1 in drawer 2",
        "put pen 2 in drawer 1",
        "look cd 1 under desklamp",
    ],
)
def test_subtasks_round_trip(written: str) -> None:
    assert str(parse(written)) == written


@pytest.mark.parametrize("written", ["dance", "find", "heat mug", "put pen 2 in drawer", "find pen, not pen 1", ""])
def test_other_text_does_not_parse_as_a_subtask(written: str) -> None:
    assert parse(written) is None


def segment(subtask: str, answer: str) -> Segment:
    step = Step(seen(), NOTHING, "act", True, 0.0, seen(text=answer), NOTHING)
    return Segment(subtask, (), NOTHING, seen(), (step,), "policy")


@pytest.mark.parametrize(
    ("subtask", "answer", "expected"),
    [
        ("find pen", "You pick up the pen 1 from the desk 1.", True),
        ("find pen", "You pick up the pencil 1 from the desk 1.", False),
        ("find pen, not pen 1, from desk 1 on", "You pick up the pen 1 from the desk 1.", False),
        ("put pen 1 from desk 1 in bed 1", "You move the pen 1 to the bed 1.", True),
        ("put pen 1 in bed 1", "You move the pen 1 to the bed 10.", False),
        ("heat mug 1", "You heat the mug 1 using the microwave 1.", True),
        ("heat mug 1", "You heat the mug 10 using the microwave 1.", False),
        ("look cd 1 under desklamp", "You turn on the desklamp 1.", True),
        ("look cd 1 under desklamp", "Nothing happens.", False),
        ("sing", "Nothing happens.", None),
    ],
)
def test_achievement_follows_from_the_observation(subtask: str, answer: str, expected: bool | None) -> None:
    assert achieved(segment(subtask, answer)) is expected


def test_noise_never_takes_the_object_that_is_searched() -> None:
    state = low_level.State("find pen", NOTHING, seen("At desk 1: cd 1, pen 1. At drawer 1: closed."))
    mistakes = {mistake(state, "", random.Random(number)) for number in range(200)}
    assert "take cd 1 from desk 1" in mistakes
    assert {"go to bed 1", "go to desk 1", "take pen 2 from desk 1", "take pen 2 from drawer 1"} <= mistakes
    assert "take pen 1 from desk 1" not in mistakes
    carrying = low_level.State("put pen 1 in bed 1", NOTHING, seen("At desk 1: cd 1.", held="pen 1"))
    mistakes = {mistake(carrying, "", random.Random(number)).split(" ")[0] for number in range(50)}
    assert mistakes == {"go", "take"}


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory: pytest.TempPathFactory) -> list[Episode]:
    pytest.importorskip("alfworld", reason="needs the alfworld extra")
    data = tmp_path_factory.mktemp("alfworld")
    write_games(data, "train")
    world = Alfworld(AlfworldOptions(data=str(data)))
    env = world.open().env()
    return [
        show(env, task, max_episode_steps=50, action_noise=noise, repeat=repeat)
        for task in world.tasks("train")
        for noise, repeat in ((0.0, 0), (0.3, 1))
    ]


@pytest.mark.alfworld
def test_every_task_type_is_solved_with_and_without_noise(demonstrations: list[Episode]) -> None:
    assert [demonstration.success for demonstration in demonstrations] == [True] * 12
    clean = demonstrations[::2]
    assert all(step.is_valid_action for demonstration in clean for step in demonstration.steps)
    subtask_types = dict(
        zip(
            TASK_TYPES,
            (tuple(segment.subtask.split()[0] for segment in episode.segments) for episode in clean),
            strict=True,
        )
    )
    assert subtask_types == {
        "pick_and_place_simple": ("find", "put"),
        "look_at_obj_in_light": ("find", "look"),
        "pick_clean_then_place_in_recep": ("find", "clean", "put"),
        "pick_heat_then_place_in_recep": ("find", "heat", "put"),
        "pick_cool_then_place_in_recep": ("find", "cool", "put"),
        "pick_two_obj_and_place": ("find", "put", "find", "put"),
    }


@pytest.mark.alfworld
def test_completed_subtasks_are_achieved(demonstrations: list[Episode]) -> None:
    for demonstration in demonstrations[::2]:
        assert all(achieved(ended) for ended in demonstration.segments)
        assert all(ended.ended_by == "policy" for ended in demonstration.segments)


@pytest.mark.alfworld
def test_equal_prompts_have_equal_utterances(demonstrations: list[Episode]) -> None:
    cut = [t for demonstration in demonstrations for t in transitions(demonstration) if t.clone_mask]
    assert {role: len(found) for role, found in conflicting(cut).items()} == dict.fromkeys(Role, 0)
    assert max(len(transition.state) for transition in cut) < 900


def test_every_object_has_places_to_search() -> None:
    table = search.places()
    assert len(table) > 50
    assert table["desklamp"][0] == "desk"
    assert all(len(set(kinds)) == len(kinds) for kinds in table.values())


def test_alfworld_has_an_expert(tmp_path: Path) -> None:
    assert expert_for("alfworld") is alfworld.EXPERT
