"""Other names: consistent within a transition, meaningless for the high level, never for words that are no names."""

from __future__ import annotations

from dataclasses import replace

from step_hrl.config import EntityPermutationConfig
from step_hrl.data.augmentation import names, renamed
from step_hrl.types import Role, Transition


def told(role: Role, state: str, utterance: str) -> Transition:
    return Transition(role, state, utterance, 0.0, None, True, 1, "e", "t")


def times(number: float) -> EntityPermutationConfig:
    return EntityPermutationConfig(high=number, low=number, progress=number)


LOOKS = ["kitchen: parrot egg, stove open", "kitchen: crocodile, stove open", "kitchen: wolf, stove open"]
LOW = [
    told(Role.LOW, f"Subtask: take the {name}\nLook: {look}\nInventory: nothing\nAction:", f"take {name}; True")
    for name, look in zip(("parrot egg", "crocodile", "wolf"), LOOKS, strict=True)
]


def test_names_are_what_is_seen_but_not_everywhere() -> None:
    assert names(LOW) == ["crocodile", "egg", "parrot", "wolf"]


def test_a_name_is_replaced_wherever_it_stands() -> None:
    for before, after in zip(LOW, renamed(LOW, times(1.0), seed=0), strict=True):
        assert after.utterance.startswith("take ")
        thing = after.utterance.removeprefix("take ").removesuffix("; True")
        assert f"Subtask: take the {thing}\n" in after.state
        assert f"Look: kitchen: {thing}, stove open" in after.state
        assert len(after.state.split()) == len(before.state.split())


HIGH = [replace(t, role=Role.HIGH, utterance=t.utterance.removesuffix("; True")) for t in LOW]


def test_the_high_level_is_given_names_that_served_the_same_or_mean_nothing() -> None:
    given: set[str] = set()
    for transition in renamed(HIGH, times(30.0), seed=0):
        thing = transition.utterance.removeprefix("take ")
        given.add(thing)
        assert f"Subtask: take the {thing}\n" in transition.state
        assert f"Look: kitchen: {thing}, stove open" in transition.state
    served = {"parrot egg", "crocodile", "wolf"}
    assert served < given
    assert not {word for thing in given - served for word in thing.split()} & set(names(LOW))


def test_what_is_there_already_takes_the_others_name() -> None:
    both = replace(HIGH[2], state=HIGH[2].state.replace("stove open", "crocodile on"))
    swapped = [t for t in renamed([*LOW * 9, *HIGH[:2], both], times(30.0), seed=0) if t.utterance == "take crocodile"]
    assert any("kitchen: crocodile, wolf on" in t.state for t in swapped)
    assert not any("kitchen: crocodile, crocodile" in t.state for t in swapped)


def test_other_tasks_lend_no_names() -> None:
    apart = [replace(transition, task=str(place)) for place, transition in enumerate(HIGH)]
    told_again = renamed(apart, times(30.0), seed=0)
    assert told_again
    for transition in told_again:
        assert not set(transition.utterance.removeprefix("take ").split()) & set(names(LOW))


def test_the_progress_repeats_actions_word_by_word() -> None:
    missed = [
        told(
            Role.PROGRESS,
            f"Subtask: find food\nAction: grab ladder\nLook: {look}\nNew progress:",
            "not understood: grab ladder",
        )
        for look in LOOKS
    ]
    for transition in renamed(missed, times(1.0), seed=0):
        action = transition.utterance.removeprefix("not understood: ")
        assert "grab" not in action
        assert "ladder" not in action
        assert f"Action: {action}\n" in transition.state


def test_roles_are_told_again_as_often_as_each_asks_for() -> None:
    both = [*LOW, *HIGH]
    assert {t.role for t in renamed(both, EntityPermutationConfig(high=20), seed=0)} == {Role.HIGH}
    assert [t.role for t in renamed(both, EntityPermutationConfig(low=2), seed=0)] == [Role.LOW] * 6


def test_what_copies_nothing_is_left_alone() -> None:
    waiting = [replace(transition, utterance="wait; False") for transition in LOW]
    assert renamed(waiting, times(1.0), seed=0) == []


def test_as_many_times_as_asked_the_same_for_the_same_seed() -> None:
    many = LOW * 100
    some = renamed(many, times(0.5), seed=1)
    assert 100 < len(some) < 200
    assert some == renamed(many, times(0.5), seed=1)
    assert renamed(many, times(0.0), seed=1) == []
    assert 700 < len(renamed(many, times(2.5), seed=1)) < 800
    assert len({t.utterance for t in renamed(LOW, times(20.0), seed=1)}) > len(LOW)


POTS = [
    told(
        Role.LOW,
        f"Subtask: take the flower pot {one}\nProgress: waited: {one}\n"
        f"Look: yard: flower pot {one} [{plant}], flower pot {other}, thermometer {one}C, wire terminal {one}, "
        f"apple x{one} | Doors: den open",
        f"take flower pot {one}; True",
    )
    for one, other, plant in (("3", "7", "rose"), ("5", "3", "fern"), ("12", "9", "pine"))
]


def test_numbers_that_tell_things_apart_become_other_numbers() -> None:
    assert [name for name in names(POTS) if name.isdigit()] == ["12", "5", "7", "9"]
    for before, after in zip(POTS[1:], renamed(POTS, times(1.0), seed=0), strict=True):
        old, new = (t.utterance.removesuffix("; True").split()[-1] for t in (before, after))
        assert old != new
        assert new.isdigit()
        assert f"pot {new} [" in after.state
        assert new not in before.state
        for kept in (f"waited: {old}", f"{old}C", f"terminal {old}", f"x{old}", "Doors: den"):
            assert kept in after.state


def test_what_follows_carries_the_same_names() -> None:
    moving = [replace(transition, next_state=transition.state, terminated=False) for transition in LOW]
    assert all(transition.next_state == transition.state for transition in renamed(moving, times(1.0), seed=3))


def test_what_is_missing_is_never_told_to_be_there() -> None:
    state = "Subtask: focus on the wolf\nAction: look around\nLook: outside: crocodile, egg\nNew progress:"
    missing = told(Role.PROGRESS, state, "missing: wolf")
    again = [t for t in renamed([*LOW * 4, missing], times(40.0), seed=0) if t.role is Role.PROGRESS]
    assert len(again) == 40
    for transition in again:
        name = transition.utterance.removeprefix("missing: ")
        assert f"Subtask: focus on the {name}\n" in transition.state
        assert name not in transition.state.split("Look: ")[1]
