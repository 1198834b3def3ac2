"""Snapshots of the three prompts, and round trips of their replies."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from step_hrl.errors import UnreadableReply
from step_hrl.prompts import high_level, local_progress, low_level, text
from step_hrl.types import Observation

SEEN = Observation("You move to the kitchen.", "kitchen: jug, stove off | Doors: hallway open", "orange")

HIGH_PROMPT = """\
Look: kitchen: jug, stove off | Doors: hallway open
Inventory: orange
Observation: You move to the kitchen.
Task: Boil water.
Done: navigate to the kitchen; pick up the jug
Progress: Now in the kitchen.
Next subtask:"""

LOW_PROMPT = """\
Look: kitchen: jug, stove off | Doors: hallway open
Inventory: orange
Observation: You move to the kitchen.
Subtask: pick up the jug
Progress: None
Next action:"""

PROGRESS_PROMPT = """\
Look: kitchen: jug, stove off | Doors: hallway open
Inventory: orange
Observation: You move to the kitchen.
Subtask: navigate to the kitchen
Progress: None
Action: go to kitchen
New progress:"""


def test_high_level_prompt_snapshot() -> None:
    state = high_level.State("Boil water.", ("navigate to the kitchen", "pick up the jug"), "Now in the kitchen.", SEEN)
    assert high_level.render(state) == HIGH_PROMPT


def test_low_level_prompt_snapshot() -> None:
    assert low_level.render(low_level.State("pick up the jug", "None", SEEN)) == LOW_PROMPT


def test_local_progress_prompt_snapshot() -> None:
    state = local_progress.State("navigate to the kitchen", "None", "go to kitchen", SEEN)
    assert local_progress.render(state) == PROGRESS_PROMPT


def test_missing_observation_fields_are_left_out() -> None:
    prompt = low_level.render(low_level.State("g", "None", Observation("Nothing happens.")))
    assert prompt == "Observation: Nothing happens.\nSubtask: g\nProgress: None\nNext action:"


WORDS = (
    st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Zl", "Zp", "Cs")), min_size=1, max_size=60)
    .map(text.one_line)
    .filter(bool)
)


@given(WORDS, st.booleans())
def test_low_level_round_trip(action: str, done: bool) -> None:
    decision = low_level.Decision(action, done)
    assert low_level.parse(low_level.utterance(decision)) == decision


@given(WORDS)
def test_high_level_and_progress_round_trip(words: str) -> None:
    assert high_level.parse(high_level.utterance(words)) == words
    assert local_progress.parse(local_progress.utterance(words)) == words


@given(st.text(max_size=3000))
def test_parsers_return_a_bounded_line_or_raise_unreadable_reply(reply: str) -> None:
    for parse, bound in ((high_level.parse, 300), (low_level.parse, 300), (local_progress.parse, 800)):
        try:
            parsed = parse(reply)
        except UnreadableReply:
            continue
        line = parsed.action if isinstance(parsed, low_level.Decision) else parsed
        assert 0 < len(line) <= bound
        assert line == text.one_line(line)


@pytest.mark.parametrize(
    "reply", ["", "  \n ", "go to kitchen", "go to kitchen; maybe", "; True", "x" * 301 + "; True"]
)
def test_low_level_refuses_malformed_replies(reply: str) -> None:
    with pytest.raises(UnreadableReply):
        low_level.parse(reply)


def test_low_level_keeps_semicolons_of_the_action() -> None:
    assert low_level.parse(" say a; b ; true\nmore") == low_level.Decision("say a; b", True)


TEXTS = st.text(max_size=4000)


@given(TEXTS, TEXTS, TEXTS)
def test_prompts_stay_bounded_for_any_observation(answer: str, look: str, inventory: str) -> None:
    observation = Observation(answer, look, inventory)
    prompt = low_level.render(low_level.State("g", "p", observation))
    assert len(prompt) <= 200 + text.TEXT_CHARACTERS + text.LOOK_CHARACTERS + text.INVENTORY_CHARACTERS
    assert len(prompt.splitlines()) <= 7


def test_completed_subtasks_stay_bounded_and_are_counted() -> None:
    done = tuple(f"subtask {number}" for number in range(100))
    prompt = high_level.render(high_level.State("c", done, "None", Observation("")))
    assert "Done: (76 earlier); subtask 76; " in prompt
    assert "subtask 75;" not in prompt


def test_progress_is_never_shortened() -> None:
    progress = "x" * 790
    assert progress in low_level.render(low_level.State("g", progress, Observation("", "look " * 2000)))
