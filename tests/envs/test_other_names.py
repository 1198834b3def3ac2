from __future__ import annotations

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from step_hrl.envs.other_names import OtherNames
from step_hrl.envs.pantry import PantryWorld
from step_hrl.errors import WorldError
from step_hrl.experts.base import expert_for, things_of
from step_hrl.types import Task

THINGS = ("pen", "pencil", "cd", "alarm clock")
WORDS = st.sampled_from(
    [*THINGS, "desk 1", "pen 3", "pencil 20", "cd 21", "drawer 1-3", "pens", "You see a", "closed."]
)


def names(seed: int = 0) -> OtherNames:
    return OtherNames(PantryWorld().open().env(), THINGS, random.Random(seed))


@given(st.lists(WORDS), st.integers(0, 50))
def test_what_is_renamed_comes_back(words: list[str], seed: int) -> None:
    text = " ".join(words)
    there = names(seed).renamed(text)
    assert names(seed).original(there) == text
    assert there.count("desk 1") == text.count("desk 1")


def test_names_and_numbers_are_drawn_anew() -> None:
    told = {names(seed).renamed("pen 1, pen 2, cd 1") for seed in range(20)}
    assert len(told) == 20
    assert all(re.fullmatch(r"(\D+) \d+, \1 \d+, (?!\1 )\D+ \d+", text) for text in told)


@given(st.integers(0, 50))
def test_things_have_one_anothers_names(seed: int) -> None:
    assert sorted(names(seed).renamed(thing) for thing in THINGS) == sorted(THINGS)


def test_the_pantry_is_done_under_any_names() -> None:
    expert = expert_for("pantry")
    for variation in range(12):
        env = OtherNames(PantryWorld().open().env(), things_of("pantry"), random.Random(variation))
        for name in ("put-one", "put-two", "clean-then-put", "examine-in-light"):
            shown = expert(env, Task("pantry", name, variation, "train"), max_episode_steps=40)
            assert shown.episode.success


def test_a_world_whose_things_must_keep_their_names_says_so() -> None:
    with pytest.raises(WorldError, match="scienceworld's needs things by their names"):
        things_of("scienceworld")
