"""Whether a subtask was achieved, from its observations and rewards."""

from __future__ import annotations

import pytest

from step_hrl.experts.base import verifier_for
from step_hrl.experts.scienceworld.achievement import achieved
from step_hrl.types import Observation, Segment, Step


def segment(subtask: str, *answers: str, look: str = "", inventory: str = "", reward: float = 0.0) -> Segment:
    seen = [Observation(text, look, inventory) for text in answers]
    steps = tuple(Step(Observation(""), "None", "act", after is seen[-1], reward, after, "None") for after in seen)
    return Segment(subtask, (), "None", Observation(""), steps, "policy")


@pytest.mark.parametrize(
    ("ended", "expected"),
    [
        (segment("go to the kitchen", "You move to the kitchen.", look="kitchen: stove | Doors: hall open"), True),
        (segment("go to the kitchen", "The door is now open.", look="hall: table | Doors: kitchen open"), False),
        (segment("focus on the parrot", "You focus on the parrot.", "It waits."), True),
        (segment("focus on the parrot", "No known action matches that input."), False),
        (segment("focus on the egg and pick it up", "You focus on the egg.", inventory="egg, orange"), True),
        (segment("focus on the egg and pick it up", "You focus on the egg.", inventory="orange"), False),
        (segment("put the egg in the red box", "(disconnecting egg)You move the egg to the red box."), True),
        (segment("put the egg in the red box", "You move the egg to the blue box."), False),
        (segment("read the recipe", "The recipe reads: mix."), None),
        (segment("become a bird", "No known action matches that input."), None),
    ],
)
def test_achievement_follows_from_the_observations(ended: Segment, expected: bool | None) -> None:
    assert achieved(ended) is expected


def test_the_verifier_uses_texts_then_rewards_then_trusts_the_policy() -> None:
    verify = verifier_for("scienceworld")
    assert verify(segment("go to the kitchen", "Done.", look="kitchen: stove"))
    assert not verify(segment("go to the kitchen", "Done.", look="hall: table"))
    assert not verify(segment("focus on the parrot", "You focus on the parrot.", reward=-0.5))
    assert verify(segment("become a bird", "Done.", reward=0.1))
    assert verify(segment("become a bird", "Done."))
    assert verifier_for("a world of one's own")(segment("become a bird", "Done."))
