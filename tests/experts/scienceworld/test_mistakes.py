"""Noise actions in demonstrations: never fatal, and equal for equal generators."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from step_hrl.experts.scienceworld import screen
from step_hrl.experts.scienceworld.mistakes import slip
from step_hrl.types import Observation

KITCHEN = Observation("", "kitchen: jug, stove off | Doors: hallway open, outside closed", "orange")


@given(st.integers(), st.sampled_from(["go", "take", "put"]), st.sampled_from(["go to hallway", "pick up jug"]))
def test_noise_never_focuses_on_a_present_object(seed: int, kind: str, action: str) -> None:
    mistake = slip(kind, action, KITCHEN, random.Random(seed))
    if mistake.startswith("focus on "):
        assert screen.read(KITCHEN).find(mistake.removeprefix("focus on ")) is None
    if kind != "go":
        assert not mistake.startswith(("go to ", "open door "))
    assert mistake == slip(kind, action, KITCHEN, random.Random(seed))


@given(st.integers(), st.text(max_size=40), st.text(max_size=200))
def test_noise_actions_exist_for_any_observation(seed: int, action: str, look: str) -> None:
    assert slip("go", action, Observation("", look, None), random.Random(seed))
