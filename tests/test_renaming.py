"""Other names: consistent within a transition, meaningless for the high level, never for words that are no names."""

from __future__ import annotations

from dataclasses import replace

from step_hrl.renaming import names, renamed
from step_hrl.types import Role, Transition


def told(role: Role, state: str, utterance: str) -> Transition:
    return Transition(role, state, utterance, 0.0, None, True, 1, "e", "t")


LOOKS = ["kitchen: parrot egg, stove open", "kitchen: crocodile, stove open", "kitchen: wolf, stove open"]
LOW = [
    told(Role.LOW, f"Subtask: take the {name}\nLook: {look}\nInventory: nothing\nAction:", f"take {name}; True")
    for name, look in zip(("parrot egg", "crocodile", "wolf"), LOOKS, strict=True)
]


def test_names_are_what_is_seen_but_not_everywhere() -> None:
    assert names(LOW) == ["crocodile", "egg", "parrot", "wolf"]


def test_a_name_is_replaced_wherever_it_stands() -> None:
    for before, after in zip(LOW, renamed(LOW, 1.0, seed=0), strict=True):
        assert after.utterance.startswith("take ")
        thing = after.utterance.removeprefix("take ").removesuffix("; True")
        assert f"Subtask: take the {thing}\n" in after.state
        assert f"Look: kitchen: {thing}, stove open" in after.state
        assert len(after.state.split()) == len(before.state.split())


def test_the_high_level_is_given_names_that_mean_nothing() -> None:
    high = [replace(transition, role=Role.HIGH) for transition in LOW]
    for transition in renamed(high, 1.0, seed=0):
        thing = transition.utterance.removeprefix("take ").removesuffix("; True")
        assert f"Look: kitchen: {thing}, stove open" in transition.state
        assert not set(thing.split()) & set(names(LOW))


def test_what_copies_nothing_is_left_alone() -> None:
    waiting = [replace(transition, utterance="wait; False") for transition in LOW]
    assert renamed(waiting, 1.0, seed=0) == []


def test_a_share_of_them_the_same_for_the_same_seed() -> None:
    many = LOW * 100
    some = renamed(many, 0.5, seed=1)
    assert 100 < len(some) < 200
    assert some == renamed(many, 0.5, seed=1)
    assert renamed(many, 0.0, seed=1) == []


def test_what_follows_carries_the_same_names() -> None:
    moving = [replace(transition, next_state=transition.state, terminated=False) for transition in LOW]
    assert all(transition.next_state == transition.state for transition in renamed(moving, 1.0, seed=3))
