"""Permuted entity names: consistent within a transition, and only for words that are names."""

from __future__ import annotations

from dataclasses import replace

from step_hrl.config import EntityPermutationConfig
from step_hrl.data.augmentation import names, permute_entities
from step_hrl.types import Role, Transition


def make(role: Role, state: str, utterance: str) -> Transition:
    return Transition(role, state, utterance, 0.0, None, True, 1, "e", "t")


def times(number: float) -> EntityPermutationConfig:
    return EntityPermutationConfig(high=number, low=number, progress=number)


LOOKS = ["kitchen: parrot egg, stove open", "kitchen: crocodile, stove open", "kitchen: wolf, stove open"]
LOW = [
    make(Role.LOW, f"Subtask: take the {name}\nLook: {look}\nInventory: nothing\nAction:", f"take {name}; True")
    for name, look in zip(("parrot egg", "crocodile", "wolf"), LOOKS, strict=True)
]


def test_names_are_the_words_that_do_not_occur_everywhere() -> None:
    assert names(LOW) == ["crocodile", "egg", "parrot", "wolf"]


def test_a_name_is_replaced_everywhere_in_a_transition() -> None:
    for before, after in zip(LOW, permute_entities(LOW, times(1.0), seed=0), strict=True):
        assert after.utterance.startswith("take ")
        thing = after.utterance.removeprefix("take ").removesuffix("; True")
        assert f"Subtask: take the {thing}\n" in after.state
        assert f"Look: kitchen: {thing}, stove open" in after.state
        assert len(after.state.split()) == len(before.state.split())


HIGH = [replace(t, role=Role.HIGH, utterance=t.utterance.removesuffix("; True")) for t in LOW]


def test_the_high_level_gets_names_of_the_same_use_or_invented_ones() -> None:
    given: set[str] = set()
    for transition in permute_entities(HIGH, times(30.0), seed=0):
        thing = transition.utterance.removeprefix("take ")
        given.add(thing)
        assert f"Subtask: take the {thing}\n" in transition.state
        assert f"Look: kitchen: {thing}, stove open" in transition.state
    seen = {"parrot egg", "crocodile", "wolf"}
    assert seen < given
    assert not {word for thing in given - seen for word in thing.split()} & set(names(LOW))


def test_names_that_are_both_present_are_swapped() -> None:
    both = replace(HIGH[2], state=HIGH[2].state.replace("stove open", "crocodile on"))
    swapped = [
        t for t in permute_entities([*LOW * 9, *HIGH[:2], both], times(30.0), seed=0) if t.utterance == "take crocodile"
    ]
    assert any("kitchen: crocodile, wolf on" in t.state for t in swapped)
    assert not any("kitchen: crocodile, crocodile" in t.state for t in swapped)


def test_names_of_other_tasks_are_not_used() -> None:
    apart = [replace(transition, task=str(place)) for place, transition in enumerate(HIGH)]
    permuted = permute_entities(apart, times(30.0), seed=0)
    assert permuted
    for transition in permuted:
        assert not set(transition.utterance.removeprefix("take ").split()) & set(names(LOW))


def test_progress_repeats_the_new_name_of_an_action() -> None:
    missed = [
        make(
            Role.PROGRESS,
            f"Subtask: find food\nAction: grab ladder\nLook: {look}\nNew progress:",
            "not understood: grab ladder",
        )
        for look in LOOKS
    ]
    for transition in permute_entities(missed, times(1.0), seed=0):
        action = transition.utterance.removeprefix("not understood: ")
        assert "grab" not in action
        assert "ladder" not in action
        assert f"Action: {action}\n" in transition.state


def test_each_role_is_augmented_as_often_as_configured() -> None:
    both = [*LOW, *HIGH]
    assert {t.role for t in permute_entities(both, EntityPermutationConfig(high=20), seed=0)} == {Role.HIGH}
    assert [t.role for t in permute_entities(both, EntityPermutationConfig(low=2), seed=0)] == [Role.LOW] * 6


def test_transitions_that_copy_no_name_are_left_out() -> None:
    waiting = [replace(transition, utterance="wait; False") for transition in LOW]
    assert permute_entities(waiting, times(1.0), seed=0) == []


def test_the_number_of_copies_is_configured_and_the_seed_decides_them() -> None:
    many = LOW * 100
    some = permute_entities(many, times(0.5), seed=1)
    assert 100 < len(some) < 200
    assert some == permute_entities(many, times(0.5), seed=1)
    assert permute_entities(many, times(0.0), seed=1) == []
    assert 700 < len(permute_entities(many, times(2.5), seed=1)) < 800
    assert len({t.utterance for t in permute_entities(LOW, times(20.0), seed=1)}) > len(LOW)


POTS = [
    make(
        Role.LOW,
        f"Subtask: take the flower pot {one}\nProgress: waited: {one}\n"
        f"Look: yard: flower pot {one} [{plant}], flower pot {other}, thermometer {one}C, wire terminal {one}, "
        f"apple x{one} | Doors: den open",
        f"take flower pot {one}; True",
    )
    for one, other, plant in (("3", "7", "rose"), ("5", "3", "fern"), ("12", "9", "pine"))
]


def test_numbers_that_distinguish_objects_are_replaced() -> None:
    assert [name for name in names(POTS) if name.isdigit()] == ["12", "5", "7", "9"]
    for before, after in zip(POTS[1:], permute_entities(POTS, times(1.0), seed=0), strict=True):
        old, new = (t.utterance.removesuffix("; True").split()[-1] for t in (before, after))
        assert old != new
        assert new.isdigit()
        assert f"pot {new} [" in after.state
        assert new not in before.state
        for kept in (f"waited: {old}", f"{old}C", f"terminal {old}", f"x{old}", "Doors: den"):
            assert kept in after.state


def test_next_states_have_the_same_names() -> None:
    moving = [replace(transition, next_state=transition.state, terminated=False) for transition in LOW]
    assert all(transition.next_state == transition.state for transition in permute_entities(moving, times(1.0), seed=3))


def test_a_missing_object_is_not_renamed_to_a_present_one() -> None:
    state = "Subtask: focus on the wolf\nAction: look around\nLook: outside: crocodile, egg\nNew progress:"
    missing = make(Role.PROGRESS, state, "missing: wolf")
    again = [t for t in permute_entities([*LOW * 4, missing], times(40.0), seed=0) if t.role is Role.PROGRESS]
    assert len(again) == 40
    for transition in again:
        name = transition.utterance.removeprefix("missing: ")
        assert f"Subtask: focus on the {name}\n" in transition.state
        assert name not in transition.state.split("Look: ")[1]
