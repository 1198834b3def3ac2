"""Mistakes put into demonstrations: never the expert's own action, never fatal, the same for the same generator."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from step_hrl.experts.scienceworld import screen
from step_hrl.experts.scienceworld.mistakes import slip
from step_hrl.types import Observation

KITCHEN = Observation("", "kitchen: jug, stove off | Doors: hallway open, outside closed", "orange")


@given(st.integers(), st.sampled_from(["go", "take", "put"]), st.sampled_from(["go to hallway", "pick up jug"]))
def test_a_mistake_never_focuses_on_what_is_there(seed: int, kind: str, action: str) -> None:
    mistake = slip(kind, action, KITCHEN, random.Random(seed))
    if mistake.startswith("focus on "):
        assert screen.read(KITCHEN).find(mistake.removeprefix("focus on ")) is None
    if kind != "go":
        assert not mistake.startswith(("go to ", "open door "))
    assert mistake == slip(kind, action, KITCHEN, random.Random(seed))


@given(st.integers(), st.text(max_size=40), st.text(max_size=200))
def test_any_surroundings_will_do(seed: int, action: str, look: str) -> None:
    assert slip("go", action, Observation("", look, None), random.Random(seed))
