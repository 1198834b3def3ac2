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
def test_an_absent_object_of_the_subtask_is_recorded(subtask: str, before: str, after: str) -> None:
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
def test_each_observation_is_recorded(before: str, action: str, answer: str, after: str) -> None:
    updated = update("a subtask", before, action, Observation(answer, "kitchen: sink"))
    assert updated == after


def test_connections_and_lit_bulbs_are_recorded() -> None:
    seen = Observation(
        "terminal 2 on aluminum foil is now connected to anode on red light bulb",
        "workshop: aluminum foil, red light bulb on, table [battery, black wire]",
        "orange",
    )
    before = "connected: battery-black wire, battery-blue wire"
    updated = update("test whether", before, "connect aluminum foil terminal 2 to red light bulb anode", seen)
    assert updated == f"{before}, aluminum foil-red light bulb; lit: red light bulb"


def test_a_bulb_that_lights_up_later_is_recorded() -> None:
    seen = Observation("You decide to wait for 1 iterations.", "workshop: table [green light bulb on]")
    assert update("test", "connected: a-b", "wait1", seen) == "connected: a-b; waited: 1; lit: green light bulb"


@given(texts, st.text(max_size=900), texts, texts, texts, texts)
def test_any_updated_progress_round_trips(
    subtask: str, progress: str, action: str, answer: str, look: str, inventory: str
) -> None:
    seen = Observation(answer, look, inventory)
    updated = update(subtask, progress, action, seen)
    assert updated
    assert len(updated) <= CHARACTERS
    assert local_progress.parse(local_progress.utterance(updated)) == updated
    assert update(subtask, progress, action, seen) == updated


@given(texts.filter(lambda text: bool(text.strip(" \n;:"))), texts)
def test_any_invalid_action_is_recorded(action: str, progress: str) -> None:
    assert "not understood:" in update("a subtask", progress, action, Observation(UNKNOWN))
