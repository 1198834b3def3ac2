from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from step_hrl.experts.scienceworld.facts import CHARACTERS
from step_hrl.experts.scienceworld.progress import update
from step_hrl.prompts import local_progress
from step_hrl.types import Observation

texts = st.text(max_size=300)
OUTSIDE = Observation("This room is called the outside.", "outside: dove egg | Doors: kitchen open", "orange")


@pytest.mark.parametrize(
    ("subtask", "before", "after"),
    [
        ("focus on the wolf", "None", "missing: wolf"),
        ("focus on the wolf", "not understood: focus on wolf", "missing: wolf"),
        ("put the dove egg in the red box", "None", "missing: red box"),
        ("focus on the dove egg", "None", "None"),
        ("focus on the wolf", "focused: wolf", "focused: wolf"),
        ("go to the kitchen", "visited: outside", "visited: outside"),
    ],
)
def test_what_a_subtask_names_in_vain_is_told(subtask: str, before: str, after: str) -> None:
    assert update(subtask, before, "look around", OUTSIDE) == after


UNKNOWN = "No known action matches that input."


@pytest.mark.parametrize(
    ("before", "action", "answer", "after"),
    [
        ("None", "go to kitchen", "You move to the kitchen.", "visited: kitchen"),
        ("visited: hallway", "go to kitchen", "You move to the kitchen.", "visited: hallway, kitchen"),
        ("visited: hallway", "open door to kitchen", "The door is now open.", "visited: hallway"),
        ("None", "open fridge", "The fridge is now open.", "opened: fridge"),
        ("opened: fridge", "open oven", "The oven is now open.", "opened: fridge, oven"),
        ("None", "focus on dove egg", "You focus on the dove egg.", "focused: dove egg"),
        ("None", "pick up dove egg", "You move the dove to the inventory.", "holding: dove egg"),
        ("None", "move jug to sink", "You move the jug to the sink.", "moved: jug to sink"),
        ("asked: which one", "0", "You move the apple seed to the flower pot 1.", "moved: apple seed to flower pot 1"),
        ("None", "activate sink", "The sink is now activated.", "sink: on"),
        ("sink: on", "deactivate sink", "The sink is now deactivated.", "sink: off"),
        ("None", "activate sink", "The sink appears broken, and can't be activated or deactivated.", "sink: broken"),
        ("waited: 2", "wait1", "You decide to wait for 1 iterations.", "waited: 3"),
        (
            "temperature: 15C; waited: 1",
            "use thermometer on lead",
            "the thermometer measures a temperature of -3 degrees celsius",
            "temperature: -3C",
        ),
        (
            "None",
            "read recipe",
            "The recipe reads: To make salt water, you need to mix sodium chloride, water.",
            "recipe: sodium chloride, water",
        ),
        (
            "None",
            "pour wood cup containing blue paint into jug",
            "You pour the contents of the wood cup into the jug.",
            "added: blue paint",
        ),
        (
            "added: blue paint",
            "mix jug",
            "Blue and yellow paint mix to produce green paint.",
            "added: blue paint; mixed: green paint",
        ),
        ("None", "move seed to pot", "Ambiguous request: Please enter the number", "asked: which one"),
        ("visited: hallway", "go to moon", UNKNOWN, "visited: hallway; not understood: go to moon"),
        (
            "visited: hallway; not understood: go to moon",
            "wait1",
            "You decide to wait",
            "visited: hallway; waited: 1",
        ),
        ("None", "move bathtub to red box", "The bathtub is not moveable.", "refused: move bathtub to red box"),
        ("refused: open chair", "go to kitchen", "You move to the kitchen.", "visited: kitchen"),
        ("waited: 1", "", "The reply could not be read as an action.", "waited: 1; not understood: no action"),
    ],
)
def test_each_answer_of_the_world_is_told(before: str, action: str, answer: str, after: str) -> None:
    told = update("a subtask", before, action, Observation(answer, "kitchen: sink"))
    assert told == after


def test_connections_and_the_light_they_make_are_told() -> None:
    seen = Observation(
        "terminal 2 on aluminum foil is now connected to anode on red light bulb",
        "workshop: aluminum foil, red light bulb on, table [battery, black wire]",
        "orange",
    )
    before = "connected: battery-black wire, battery-blue wire"
    told = update("test whether", before, "connect aluminum foil terminal 2 to red light bulb anode", seen)
    assert told == f"{before}, aluminum foil-red light bulb; lit: red light bulb"


def test_a_light_that_comes_on_later_is_told() -> None:
    seen = Observation("You decide to wait for 1 iterations.", "workshop: table [green light bulb on]")
    assert update("test", "connected: a-b", "wait1", seen) == "connected: a-b; waited: 1; lit: green light bulb"


@given(texts, st.text(max_size=900), texts, texts, texts, texts)
def test_any_progress_can_be_updated_and_read_as_a_reply(
    subtask: str, progress: str, action: str, answer: str, look: str, inventory: str
) -> None:
    seen = Observation(answer, look, inventory)
    told = update(subtask, progress, action, seen)
    assert told
    assert len(told) <= CHARACTERS
    assert local_progress.parse(local_progress.utterance(told)) == told
    assert update(subtask, progress, action, seen) == told


@given(texts.filter(lambda text: bool(text.strip(" \n;:"))), texts)
def test_what_was_not_understood_is_told_whatever_it_was(action: str, progress: str) -> None:
    assert "not understood:" in update("a subtask", progress, action, Observation(UNKNOWN))
