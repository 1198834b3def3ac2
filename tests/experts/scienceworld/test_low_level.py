from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from step_hrl.experts.scienceworld import subtasks
from step_hrl.experts.scienceworld.low_level import act
from step_hrl.prompts import low_level
from step_hrl.types import Observation

HALL = "hallway: picture | Doors: greenhouse closed, kitchen open"
BENCH = "workshop: aluminum foil, red light bulb off, table [battery, black wire, blue wire] | Doors: hallway open"
LINKS = ["battery-black wire", "battery-blue wire", "black wire-red light bulb", "aluminum foil-blue wire"]
POTS = "greenhouse: bee hive closed, flower pot 1 [soil], sink off | Doors: hallway open, outside closed"


@pytest.mark.parametrize(
    ("subtask", "progress", "look", "inventory", "action", "done"),
    [
        ("go to the outside", "None", HALL, "", "go to kitchen", False),
        ("go to the greenhouse", "None", HALL, "", "open door to greenhouse", False),
        ("go to the kitchen", "None", HALL, "", "go to kitchen", True),
        ("go to the hallway", "None", HALL, "", "look around", True),
        ("focus on the chair", "None", "kitchen: chair", "", "focus on chair", True),
        ("focus on the egg", "None", "outside: dove egg, parrot egg", "", "focus on egg", False),
        ("focus on the egg", "asked: which one", "outside: dove egg, parrot egg", "", "0", True),
        ("find the ice and focus on it", "None", "kitchen: freezer closed, fridge closed", "", "open fridge", False),
        (
            "find the ice and focus on it",
            "opened: fridge",
            "kitchen: freezer closed, fridge open",
            "",
            "open freezer",
            False,
        ),
        ("find the ice and focus on it", "None", "kitchen: freezer open [ice]", "", "focus on ice", True),
        ("find the seed jar and pick it up", "None", "bathroom: seed jar", "", "pick up seed jar", True),
        ("focus on the dove egg and pick it up", "None", "outside: dove egg", "", "focus on dove egg", False),
        (
            "focus on the dove egg and pick it up",
            "focused: dove egg",
            "outside: dove egg",
            "",
            "pick up dove egg",
            True,
        ),
        (
            "focus on the pea plant in flower pot 3 and pick up the pot",
            "None",
            "",
            "",
            "focus on pea plant in flower pot 3",
            False,
        ),
        (
            "focus on the pea plant in flower pot 3 and pick up the pot",
            "focused: pea plant",
            "",
            "",
            "pick up flower pot 3",
            True,
        ),
        ("focus on the wolf", "None", "outside: dove egg", "", "look around", True),
        ("find the wolf and focus on it", "None", "kitchen: fridge closed", "", "open fridge", False),
        ("find the wolf and focus on it", "opened: fridge", "kitchen: fridge open", "", "look around", True),
        ("focus on the dove egg and pick it up", "None", "outside: egg dove", "", "look around", True),
        ("put the chair in the orange box", "None", "kitchen: chair, red box", "", "look around", True),
        ("put the chair in the red box", "None", "kitchen: chair, red box", "", "move chair to red box", True),
        (
            "put the soil in the flower pot 2",
            "None",
            "greenhouse: flower pot 1 [soil], flower pot 2",
            "soil",
            "move soil in inventory to flower pot 2",
            True,
        ),
        ("collect the peanut, bread", "None", "workshop: bread, peanut", "", "pick up peanut", False),
        ("collect the peanut, bread", "None", "workshop: bread", "peanut", "pick up bread", True),
        ("put down the solar panel", "None", "outside: axe", "solar panel off", "drop solar panel", True),
        ("measure the temperature of the lead", "None", "", "", "use thermometer on lead", True),
        ("fill the glass cup with water", "None", "kitchen: glass cup, sink off", "", "move glass cup to sink", False),
        ("fill the glass cup with water", "None", "kitchen: sink off [glass cup]", "", "activate sink", False),
        ("fill the glass cup with water", "None", "kitchen: sink on [glass cup [water]]", "", "deactivate sink", True),
        ("fill the glass cup with water", "sink: broken", "kitchen: sink off [glass cup]", "", "look around", True),
        ("heat the ice in the oven until it boils", "None", "kitchen: ice, oven off closed", "", "open oven", False),
        ("heat the ice in the oven until it boils", "None", "kitchen: ice, oven off open", "", "activate oven", False),
        (
            "heat the ice in the oven until it boils",
            "None",
            "kitchen: ice, oven on open",
            "",
            "move ice to oven",
            False,
        ),
        ("heat the ice in the oven until it boils", "None", "kitchen: oven on open [water]", "", "wait", False),
        (
            "heat the ice in the oven until it melts",
            "None",
            "kitchen: glass cup [ice], oven on open",
            "",
            "move glass cup to oven",
            False,
        ),
        ("heat the ice in the oven until it melts", "None", "kitchen: oven on open [jug [ice]]", "", "wait1", False),
        (
            "heat the ice in the oven until it melts",
            "None",
            "kitchen: oven on open [jug [water]]",
            "",
            "pick up jug",
            True,
        ),
        (
            "cool the milk in the freezer until it freezes",
            "None",
            "kitchen: freezer open, fridge open [jug [milk]], jug",
            "",
            "move jug containing milk to freezer",
            False,
        ),
        (
            "cool the milk in the freezer until it freezes",
            "None",
            "kitchen: freezer open [jug [milk]]",
            "",
            "wait",
            False,
        ),
        (
            "cool the milk in the freezer until it freezes",
            "None",
            "kitchen: freezer open [jug [solid milk]]",
            "",
            "pick up jug",
            True,
        ),
        (
            "melt the lead in the oven and measure its temperature",
            "temperature: 15C",
            "kitchen: oven on open [lead]",
            "thermometer 10C",
            "use thermometer on lead",
            False,
        ),
        (
            "melt the lead in the oven and measure its temperature",
            "temperature: 46C",
            "kitchen: oven on open [lead]",
            "thermometer 10C",
            "wait",
            False,
        ),
        (
            "melt the lead in the oven and measure its temperature",
            "temperature: 212C; waited: 1",
            "kitchen: oven on open [liquid lead]",
            "thermometer 10C",
            "use thermometer on liquid lead",
            True,
        ),
        (
            "power the red light bulb with the battery",
            "None",
            BENCH,
            "",
            "connect battery anode to black wire terminal 1",
            False,
        ),
        (
            "power the red light bulb with the gas generator",
            f"connected: {', '.join(LINKS)}",
            BENCH,
            "",
            "activate gas generator",
            False,
        ),
        (
            "test whether the aluminum foil conducts electricity",
            f"connected: {', '.join(LINKS[:2])}",
            BENCH,
            "",
            "connect black wire terminal 2 to red light bulb cathode",
            False,
        ),
        (
            "test whether the aluminum foil conducts electricity",
            f"connected: {', '.join(LINKS)}",
            BENCH,
            "",
            "connect aluminum foil terminal 2 to red light bulb anode",
            False,
        ),
        (
            "test whether the aluminum foil conducts electricity",
            f"connected: {', '.join([*LINKS, 'aluminum foil-red light bulb'])}",
            BENCH,
            "",
            "wait1",
            True,
        ),
        ("read the recipe", "None", "", "", "read recipe", True),
        (
            "mix the sodium chloride, water in the glass cup",
            "None",
            "kitchen: glass jar [sodium chloride], sink off, table [glass cup]",
            "",
            "open glass jar",
            False,
        ),
        (
            "mix the sodium chloride, water in the glass cup",
            "opened: glass jar",
            "kitchen: glass jar [sodium chloride], sink off, table [glass cup]",
            "",
            "move sodium chloride to glass cup",
            False,
        ),
        (
            "mix the soap, water in the glass cup",
            "None",
            "kitchen: sink on [glass cup [soap, water]]",
            "",
            "deactivate sink",
            False,
        ),
        ("mix the soap, water in the jug", "None", "kitchen: sink off [jug [soap, water]]", "", "mix jug", True),
        (
            "mix the blue paint, red paint in the jug",
            "None",
            "art studio: table [jug], wood cup [red paint], wood cup [blue paint]",
            "",
            "pour wood cup containing blue paint into jug",
            False,
        ),
        ("wait for the juvenile wolf and focus on it", "None", "outside: baby wolf", "", "wait", False),
        (
            "wait for the juvenile wolf and focus on it",
            "None",
            "outside: juvenile wolf",
            "",
            "focus on juvenile wolf",
            True,
        ),
        (
            "wait for the apple tree in the adult stage and focus on it",
            "None",
            "outside: pot [apple tree in the seedling stage]",
            "",
            "wait1",
            False,
        ),
        ("dig up the soil", "None", "outside: ground", "shovel", "use shovel on ground", False),
        ("dig up the soil", "None", "outside: ground, hole, soil", "shovel", "pick up soil", True),
        (
            "plant the apple seed in flower pot 1",
            "None",
            POTS,
            "seed jar [apple seed x5]",
            "move apple seed in seed jar to flower pot 1",
            False,
        ),
        ("plant the apple seed in flower pot 1", "asked: which one", POTS, "seed jar [apple seed x5]", "0", True),
        ("close the doors and open the bee hive", "None", POTS, "", "close door to hallway", False),
        ("close the doors and open the bee hive", "None", POTS.partition(" |")[0], "", "open bee hive", True),
        ("turn on the sink", "None", POTS, "", "activate sink", True),
        ("wait for the apple plant to grow", "None", POTS, "", "wait", False),
    ],
)
def test_the_next_action_follows_from_the_prompt(
    subtask: str, progress: str, look: str, inventory: str, action: str, done: bool
) -> None:
    assert act(subtask, progress, Observation("", look, inventory)) == (action, done)


def test_an_unknown_subtask_has_no_action() -> None:
    assert act("dance", "None", Observation("")) is None


@given(
    st.sampled_from(sorted(subtasks.SENTENCES)),
    st.sampled_from(["lead", "jug", "orange"]),
    st.text(max_size=200),
    st.text(max_size=200),
    st.text(max_size=200),
)
def test_decisions_round_trip_for_any_observation(
    kind: str, word: str, progress: str, look: str, inventory: str
) -> None:
    words = dict.fromkeys(subtasks.read(subtasks.SENTENCES[kind]).words, word)
    decision = act(subtasks.say(kind, **words), progress, Observation("", look, inventory))
    if decision is not None and ";" not in look + inventory:
        utterance = low_level.utterance(decision)
        assert low_level.parse(utterance).subtask_done is decision.subtask_done
