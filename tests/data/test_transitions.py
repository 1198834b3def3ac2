"""Transitions against a hand-computed example, and their properties."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from step_hrl.data.transitions import deduplicate, trajectories_of, transitions, trust_policy
from step_hrl.types import Episode, Observation, Role, Segment, Step, Task, Transition

TASK = Task("w", "t", 0, "train", "Do it.")


def see(number: int) -> Observation:
    return Observation(f"o{number}")


def make_episode(plan: list[list[tuple[bool, float]]], ending: str) -> Episode:
    """One segment per list, one step per (is_valid_action, reward); the last step has this ending."""
    segments: list[Segment] = []
    moment, progress = 0, "None"
    for number, steps in enumerate(plan):
        taken: list[Step] = []
        inner = "None"
        for position, (is_valid_action, reward) in enumerate(steps):
            last = number == len(plan) - 1 and position == len(steps) - 1
            done = position == len(steps) - 1 and not (last and ending == "truncated")
            after = None if last else f"p{moment + 1}"
            taken.append(
                Step(
                    see(moment),
                    inner,
                    f"a{moment}",
                    done,
                    reward,
                    see(moment + 1),
                    after,
                    is_valid_action,
                    terminated=last and ending == "terminated",
                    truncated=last and ending == "truncated",
                )
            )
            inner, moment = after or inner, moment + 1
        names = tuple(f"g{k}" for k in range(number))
        segment = Segment(f"g{number}", names, progress, taken[0].observation, tuple(taken), "policy")
        segments.append(segment)
        progress = segment.final_progress
    return Episode("e", TASK, tuple(segments), 1.0, True)


def of(role: Role, cut: list[Transition]) -> list[Transition]:
    return [transition for transition in cut if transition.role is role]


def test_a_small_episode_cut_by_hand() -> None:
    cut = transitions(make_episode([[(True, 0.25), (True, 0.0)], [(False, 0.75)]], "terminated"))
    high, low, progress = (of(role, cut) for role in Role)
    assert [(t.utterance, t.reward, t.duration, t.terminated) for t in high] == [
        ("g0", 0.25, 2, False),
        ("g1", 0.75, 1, True),
    ]
    assert high[0].next_state == high[1].state
    assert high[1].state == "Observation: o2\nTask: Do it.\nDone: g0\nProgress: p2\nNext subtask:"
    assert [(t.utterance, t.reward, t.terminated) for t in low] == [
        ("a0; False", 0.0, False),
        ("a1; True", 1.0, True),
        ("a2; True", -1.0, True),
    ]
    assert low[0].next_state == low[1].state
    assert [(t.utterance, t.reward, t.terminated) for t in progress] == [("p1", 0.0, False), ("p2", 1.0, True)]
    assert progress[0].next_state == progress[1].state


def test_transitions_are_in_the_order_of_the_decisions() -> None:
    cut = transitions(make_episode([[(True, 0.0), (True, 0.0)], [(True, 0.0)]], "terminated"))
    decisions = ["g0", "a0; False", "p1", "a1; True", "p2", "g1", "a2; True"]
    assert [transition.utterance for transition in cut] == decisions


def test_an_unreadable_subtask_is_kept_verbatim() -> None:
    segment = Segment("", (), "None", see(0), (), "unreadable", unreadable="\n")
    [only] = transitions(Episode("e", TASK, (segment,), 0.0, False))
    assert (only.role, only.utterance, only.reward) == (Role.HIGH, "\n", 0)
    assert only.terminated
    assert only.next_state is None


PLANS = st.lists(
    st.lists(st.tuples(st.booleans(), st.floats(-1, 1, allow_nan=False)), min_size=1, max_size=4),
    min_size=1,
    max_size=4,
)


@given(PLANS, st.sampled_from(["terminated", "truncated"]))
def test_segment_rewards_sum_to_the_return(plan: list[list[tuple[bool, float]]], ending: str) -> None:
    episode = make_episode(plan, ending)
    high = of(Role.HIGH, transitions(episode))
    assert sum(t.reward for t in high) == pytest.approx(episode.total_reward)
    assert sum(t.duration for t in high) == len(episode.steps)


@given(PLANS, st.sampled_from(["terminated", "truncated"]))
def test_next_state_never_crosses_a_terminal(plan: list[list[tuple[bool, float]]], ending: str) -> None:
    cut = transitions(make_episode(plan, ending))
    for transition in cut:
        assert (transition.next_state is None) == transition.terminated
    for role in (Role.LOW, Role.PROGRESS):
        for transition in of(role, cut):
            if transition.next_state is not None:
                [subtask] = [line for line in transition.state.splitlines() if line.startswith("Subtask:")]
                assert subtask in transition.next_state.splitlines()
    high = of(Role.HIGH, cut)
    assert high[-1].terminated == (ending == "terminated")
    assert [t.next_state for t in high[:-1]] == [t.state for t in high[1:]]


@given(PLANS, st.sampled_from(["terminated", "truncated"]))
def test_the_last_step_has_no_progress_update(plan: list[list[tuple[bool, float]]], ending: str) -> None:
    episode = make_episode(plan, ending)
    assert len(of(Role.PROGRESS, transitions(episode))) == len(episode.steps) - 1


@given(PLANS)
def test_deduplicate_keeps_the_first_of_each_decision(plan: list[list[tuple[bool, float]]]) -> None:
    cut = transitions(make_episode(plan, "terminated"))
    assert deduplicate([*cut, *reversed(cut)]) == deduplicate(cut)
    assert len({(t.role, t.state, t.utterance) for t in cut}) == len(deduplicate(cut))


def test_a_subtask_is_rewarded_as_the_verifier_decides() -> None:
    episode = make_episode([[(True, 0.0), (True, 0.5)], [(True, 0.0), (False, 0.0)]], "terminated")
    trusted = [t.reward for t in transitions(episode, trust_policy) if t.role is Role.LOW]
    rejected = [t.reward for t in transitions(episode, lambda _: False) if t.role is Role.LOW]
    assert trusted == [0.0, 1.0, 0.0, -1.0]
    assert rejected == [0.0, 0.0, 0.0, -1.0]
    progress = [t.reward for t in transitions(episode, lambda _: False) if t.role is Role.PROGRESS]
    assert progress == [0.0, 0.0, 0.0]
    highs = [
        [t.reward for t in transitions(episode, verifier) if t.role is Role.HIGH]
        for verifier in (trust_policy, lambda _: False)
    ]
    assert highs[0] == highs[1]


@given(st.lists(st.lists(st.tuples(st.booleans(), st.just(0.0)), min_size=1, max_size=4), min_size=1, max_size=4))
def test_trajectories_hold_every_transition_once_and_in_order(plan: list[list[tuple[bool, float]]]) -> None:
    for ending in ("terminated", "truncated"):
        cut = transitions(make_episode(plan, ending))
        trajectories = trajectories_of(cut)
        assert sorted(map(id, (t for trajectory in trajectories for t in trajectory))) == sorted(map(id, cut))
        for trajectory in trajectories:
            assert len({(t.role, t.episode_id) for t in trajectory}) == 1
            for before, after in pairwise(trajectory):
                assert before.next_state == after.state
        # One trajectory of the high level, and one of the low level per segment.
        assert sum(trajectory[0].role is Role.HIGH for trajectory in trajectories) == 1
        assert sum(trajectory[0].role is Role.LOW for trajectory in trajectories) == len(plan)
