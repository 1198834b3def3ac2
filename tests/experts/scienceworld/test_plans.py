"""The next subtask in each family of tasks, from the high level's prompt."""

from __future__ import annotations

import pytest

from step_hrl.experts.scienceworld.high_level import next_subtask
from step_hrl.types import Observation

BOX = "First, focus on the thing. Then, move it to the red box in the kitchen."
THERMOMETER = (
    "Your task is to measure the temperature of unknown substance B, which is located around the living room. First, "
    "focus on the thermometer. Next, focus on the unknown substance B. If the unknown substance B temperature is above "
    "100.0 degrees celsius, place it in the red box. If the unknown substance B temperature is below 100.0 degrees "
    "celsius, place it in the green box. The boxes are located around the bathroom."
)
MELTING = (
    "Your task is to measure the melting point of lead, which is located around the kitchen. First, focus on the "
    "thermometer. Next, focus on the lead. If the melting point of lead is above 150.0 degrees celsius, focus on the "
    "blue box. If the melting point of lead is below 150.0 degrees celsius, focus on the orange box. The boxes are "
    "located around the kitchen."
)
FOIL = (
    "Your task is to determine if aluminum foil is electrically conductive. The aluminum foil is located around the "
    "kitchen. First, focus on the aluminum foil. If it is electrically conductive, place it in the red box. If it is "
    "electrically nonconductive, place it in the green box."
)
WORKSHOP = "workshop: table [tin cup [lead]]"
HALLWAY = "hallway: painting"
LIFE = "Your task is to find the animal with the longest life span, then the shortest life span."
NUTS = (
    "Your task is to use chemistry to create the substance 'salt water'. A recipe and some of the ingredients might be "
    "found near the workshop. When you are done, focus on the salt water."
)
FRUIT = (
    "Your task is to grow a apple. This will require growing several plants, and them being crosspollinated to produce "
    "fruit. Seeds can be found in the kitchen. To complete the task, focus on the grown apple."
)
TAKEN = ("focus on the thermometer and pick it up", "focus on the unknown substance B and pick it up")
SOWN = (
    "find the seed jar and pick it up",
    "plant the apple seed in flower pot 1",
    "plant the apple seed in flower pot 2",
)
OUTSIDE = "outside: axe, baby ant, baby rabbit, parrot egg | Doors: kitchen open"
RENEWABLE = "Your task is to turn on the red light bulb by powering it using a renewable power source. First, focus"


@pytest.mark.parametrize(
    ("instruction", "completed", "progress", "look", "inventory", "subtask"),
    [
        (f"Your task is to find a animal. {BOX}", (), "None", "hallway: picture", "", "go to the outside"),
        (f"Your task is to find a animal. {BOX}", (), "None", OUTSIDE, "", "focus on the baby ant and pick it up"),
        (f"Your task is to find a plant. {BOX}", (), "None", "hallway: picture", "", "go to the greenhouse"),
        (
            f"Your task is to find a plant. {BOX}",
            (),
            "None",
            "greenhouse: flower pot 1 [soil], flower pot 3 [pea plant in the adult stage, soil]",
            "",
            "focus on the pea plant in flower pot 3 and pick up the pot",
        ),
        (
            f"Your task is to find a plant. {BOX}",
            ("focus on the pea plant in flower pot 3 and pick up the pot",),
            "None",
            "kitchen: red box",
            "",
            "put the flower pot 3 in the red box",
        ),
        (
            f"Your task is to find a non-living thing. {BOX}",
            (),
            "None",
            "kitchen: blue box, chair, red box",
            "",
            "focus on the chair",
        ),
        (LIFE, (), "None", OUTSIDE, "", "focus on the parrot egg"),
        (LIFE, ("focus on the parrot egg",), "None", OUTSIDE, "", "focus on the baby ant"),
        (THERMOMETER, TAKEN[:1], "None", "kitchen: stove off", "", "go to the living room"),
        (
            THERMOMETER,
            TAKEN,
            "None",
            "bathroom: green box, red box",
            "",
            "measure the temperature of the unknown substance B",
        ),
        (
            THERMOMETER,
            (*TAKEN, "measure the temperature of the unknown substance B"),
            "temperature: 26C",
            "bathroom: green box, red box",
            "",
            "put the unknown substance B in the green box",
        ),
        (
            "Your task is to boil water. For",
            (),
            "None",
            "kitchen: table [glass cup]",
            "",
            "fill the glass cup with water",
        ),
        ("Your task is to boil water. For", (), "sink: broken", "kitchen: sink off", "", "go to the bathroom"),
        (
            "Your task is to boil water. For",
            ("fill the glass cup with water",),
            "None",
            "bathroom: sink off [glass cup [water]], toilet [water]",
            "",
            "find the glass cup and pick it up",
        ),
        (
            "Your task is to melt water. First",
            ("focus on the water",),
            "None",
            "kitchen: sink off [glass cup [water]]",
            "",
            "cool the water in the freezer until it freezes",
        ),
        (
            "Your task is to melt water. First",
            ("focus on the water",),
            "None",
            "kitchen: sink off",
            "glass cup [ice]",
            "heat the water in the oven until it melts",
        ),
        (
            "Your task is to freeze chocolate. First",
            ("find the chocolate and focus on it",),
            "None",
            "kitchen: fridge open [chocolate], table [glass cup]",
            "",
            "put the chocolate in the glass cup",
        ),
        ("Your task is to melt lead. First", (), "None", "kitchen: chair", "", "go to the workshop"),
        ("Your task is to melt lead. First", (), "None", WORKSHOP, "", "find the lead and focus on it"),
        ("Your task is to melt soap. First", (), "None", "kitchen: soap", "", "find the soap and focus on it"),
        ("Your task is to melt butter. First", (), "None", WORKSHOP, "", "find the butter and focus on it"),
        (
            "Your task is to melt butter. First",
            ("go to the workshop", "find the butter and focus on it"),
            "missing: butter",
            WORKSHOP,
            "",
            "go to the kitchen",
        ),
        (
            "Your task is to melt butter. First",  # another search was a mistake
            ("go to the workshop", "find the lemon and focus on it"),
            "missing: lemon",
            WORKSHOP,
            "",
            "find the butter and focus on it",
        ),
        ("Your task is to melt butter. First", ("go to the workshop",), "None", HALLWAY, "", "go to the kitchen"),
        (
            "Your task is to melt butter. First",
            ("go to the workshop", "find the butter and focus on it", "go to the kitchen"),
            "None",
            "kitchen: fridge closed",
            "",
            "find the butter and focus on it",
        ),
        (
            "Your task is to melt butter. First",  # from the workshop
            ("go to the kitchen",),
            "None",
            "kitchen: fridge closed",
            "",
            "find the butter and focus on it",
        ),
        (
            MELTING,
            ("focus on the thermometer and pick it up",),
            "None",
            "kitchen: tin cup [lead]",
            "",
            "find the lead and focus on it",
        ),
        (
            MELTING,
            ("focus on the thermometer and pick it up", "find the lead and focus on it"),
            "None",
            "kitchen: tin cup [lead]",
            "",
            "melt the lead in the oven and measure its temperature",
        ),
        (
            MELTING,
            (
                "focus on the thermometer and pick it up",
                "find the lead and focus on it",
                "melt the lead in the oven and measure its temperature",
            ),
            "temperature: 331C",
            "kitchen: blue box",
            "",
            "focus on the blue box",
        ),
        (
            "Your task is to turn on the red light bulb. First, focus on the red light bulb.",
            ("focus on the red light bulb",),
            "None",
            "workshop: table [battery]",
            "",
            "power the red light bulb with the battery",
        ),
        (
            RENEWABLE,
            ("focus on the red light bulb",),
            "None",
            "workshop: solar panel off, table [battery, black wire, blue wire, red wire]",
            "",
            "collect the red light bulb, solar panel, black wire, blue wire",
        ),
        (
            RENEWABLE,
            ("focus on the red light bulb", "collect the red light bulb, solar panel, black wire, blue wire"),
            "None",
            "outside: axe",
            "solar panel off",
            "put down the solar panel",
        ),
        (
            FOIL,
            ("find the aluminum foil and focus on it",),
            "None",
            "kitchen: aluminum foil",
            "",
            "find the aluminum foil and pick it up",
        ),
        (
            FOIL,
            ("find the aluminum foil and focus on it", "test whether the aluminum foil conducts electricity"),
            "None",
            "workshop: red light bulb on",
            "",
            "put the aluminum foil in the red box",
        ),
        (
            NUTS,
            ("read the recipe",),
            "recipe: sodium chloride, water",
            "workshop: chair",
            "",
            "collect the sodium chloride",
        ),
        (
            NUTS,
            ("read the recipe", "collect the sodium chloride"),
            "None",
            "kitchen: table [glass cup]",
            "sodium chloride",
            "mix the sodium chloride, water in the glass cup",
        ),
        (
            "Your task is to use chemistry to create yellow-green paint. When",
            ("mix the blue paint, yellow paint in the jug", "focus on the green paint"),
            "None",
            "art studio: table [jug [green paint]]",
            "",
            "mix the green paint, yellow paint in the jug",
        ),
        (
            "Your task is to focus on the 4 life stages of the turtle, starting from earliest to latest.",
            ("focus on the turtle egg",),
            "None",
            "outside: turtle egg",
            "",
            "wait for the hatchling turtle and focus on it",
        ),
        (
            "Your task is to focus on the life stages of the apple plant, starting from earliest",
            ("focus on the apple seed",),
            "None",
            "outside: pot 6 [apple tree in the seedling stage]",
            "",
            "focus on the apple tree in the seedling stage",
        ),
        (
            FRUIT,
            SOWN[:1],
            "None",
            "greenhouse: flower pot 1, flower pot 2, soil",
            "",
            "put the soil in the flower pot 1",
        ),
        (
            FRUIT,
            SOWN[:1],
            "None",
            "greenhouse: flower pot 1, flower pot 2, shovel",
            "",
            "find the shovel and pick it up",
        ),
        (FRUIT, SOWN[:1], "None", "outside: ground", "shovel, soil", "dig up the soil"),
        (FRUIT, SOWN[:1], "None", "outside: ground", "shovel, soil x2", "go to the greenhouse"),
        (FRUIT, SOWN, "None", "greenhouse: flower pot 1 [apple seed, soil]", "", "put the flower pot 1 in the sink"),
        (
            FRUIT,
            (*SOWN, "put the flower pot 1 in the sink", "put the flower pot 2 in the sink"),
            "None",
            "greenhouse: sink off",
            "",
            "turn on the sink",
        ),
    ],
)
def test_the_next_subtask_follows_from_the_prompt(
    instruction: str, completed: tuple[str, ...], progress: str, look: str, inventory: str, subtask: str
) -> None:
    assert next_subtask(instruction, completed, progress, Observation("", look, inventory)) == subtask


def test_an_unknown_task_has_no_subtask() -> None:
    assert next_subtask("Your task is to dance.", (), "None", Observation("")) is None


def test_only_subtasks_listed_in_the_prompt_count_as_completed() -> None:
    completed = ("focus on the parrot egg", *["go to the outside"] * 24)
    assert next_subtask(LIFE, completed, "None", Observation("", OUTSIDE)) == "focus on the parrot egg"


def test_a_failed_subtask_does_not_count_as_completed() -> None:
    failed = ("go to the outside", "focus on the baby crocodile")
    progress = "not understood: focus on baby crocodile"
    assert next_subtask(LIFE, failed, progress, Observation("", OUTSIDE)) == "focus on the parrot egg"
