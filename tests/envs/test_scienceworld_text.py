"""ScienceWorld's texts are shortened without loss of facts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from step_hrl.envs.scienceworld_text import compact_answer, compact_inventory, compact_item, compact_look

ITEMS = [
    ("a substance called sodium chloride", "sodium chloride"),
    ("an orange", "orange"),
    ("A recipe titled instructions to make soapy water", "recipe titled instructions to make soapy water"),
    ("a oven, which is turned off. The oven door is closed. ", "oven off closed"),
    ("a stopwatch, which is deactivated. ", "stopwatch off"),
    ("a thermometer, currently reading a temperature of -5 degrees celsius", "thermometer -5C"),
    ("a glass jar (containing a substance called sodium chloride)", "glass jar [sodium chloride]"),
    ("a red box (containing nothing)", "red box"),
    ("a seed jar (containing a apple seed, a apple seed)", "seed jar [apple seed x2]"),
    (
        "a blast furnace, which is turned on. The blast furnace door is open. In the blast furnace is: a metal pot "
        "(containing a substance called steam).",
        "blast furnace on open [metal pot [steam]]",
    ),
    (
        "a cupboard. The cupboard door is open. In the cupboard is: a ceramic cup (containing nothing), a drawer, "
        "a tin cup (containing nothing).",
        "cupboard open [ceramic cup, drawer, tin cup]",
    ),
    (
        "a flower pot 1 (containing a apple tree in the reproducing stage. On the apple tree you see: a red apple, "
        "a flower. , soil)",
        "flower pot 1 [apple tree in the reproducing stage [red apple, flower], soil]",
    ),
    (
        "a bed. On the bed is: a mattress. On the mattress is: a white pillow.",
        "bed [mattress [white pillow]]",
    ),
    (
        "a toilet. In the toilet is: A drain, which is closed, a substance called water.",
        "toilet [drain closed, water]",
    ),
    (
        "a book shelf (containing A book (Moby Dick) titled Moby Dick by Herman Melville, A book (Beowulf) titled "
        "Beowulf by Beowulf poet)",
        "book shelf [book Moby Dick, book Beowulf]",
    ),
    ("an adult dove (that looks unwell)", "adult dove unwell"),
    (
        "a black wireits terminal 1 is connected to: nothing. its terminal 2 is connected to: battery. ",
        "black wire terminal 2 to battery",
    ),
]


@pytest.mark.parametrize(("original", "compacted"), ITEMS)
def test_items_are_compacted(original: str, compacted: str) -> None:
    assert compact_item(original) == compacted


def test_a_room_is_compacted() -> None:
    look = (
        "This outside location is called the outside. Here you see: \n\tthe agent\n\ta substance called air\n"
        "\tan axe\n\ta adult bee\n\ta adult bee\nYou also see:\n\tA door to the foundry (that is closed)\n"
        "\tA door to the living room (that is open)\n"
    )
    assert compact_look(look) == "outside: axe, adult bee x2 | Doors: foundry closed, living room open"


def test_an_empty_inventory_is_nothing() -> None:
    assert compact_inventory("In your inventory, you see:\n") == "nothing"


@pytest.mark.parametrize(
    ("answer", "compacted"),
    [
        ("This room is called the hall. In it, you see: \n\tthe agent", "You look around."),
        ("a substance called water", "water"),
        ("No known action matches that input.", "No known action matches that input."),
        ("Ambiguous request: choose:\n0:\tgo\n1:\tstay\n", "Ambiguous request: choose: 0: go 1: stay"),
    ],
)
def test_answers_are_compacted(answer: str, compacted: str) -> None:
    assert compact_answer(answer) == compacted


@given(st.text(alphabet="an the containing()[]:.,\n\tx", max_size=300))
def test_any_text_is_compacted_to_one_line(text: str) -> None:
    for compact in (compact_item, compact_look, compact_inventory, compact_answer):
        assert "\n" not in compact(text)
