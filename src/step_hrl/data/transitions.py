"""Cut episodes into augmented step-level transitions (paper, section 3.2). Pure.

Every state is the prompt of its role, rendered by the function that is also used for acting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import TypeVar

from step_hrl.prompts import high_level, local_progress, low_level
from step_hrl.types import Episode, Role, Segment, Step, Transition

Item = TypeVar("Item")

SUBTASK_REWARD = 1.0
"""The low level's reward at the step that completes its subtask."""
INVALID_ACTION_REWARD = -1.0
"""The low level's reward for an invalid action or an unreadable reply."""

SubtaskVerifier = Callable[[Segment], bool]
"""Decides whether a subtask that the low level declares complete counts as completed."""


def trust_policy(segment: Segment) -> bool:
    """Every subtask that the low level declares complete counts as completed (the rule of the reference code)."""
    return segment.ended_by == "policy"


def transitions(episode: Episode, verifier: SubtaskVerifier = trust_policy) -> list[Transition]:
    """All transitions of an episode, in the order of its decisions.

    ``verifier`` decides which subtasks earn the low level's reward for completion.
    """
    result: list[Transition] = []
    for segment, decision in zip(episode.segments, high(episode), strict=True):
        rewards = low_rewards(segment, verifier)
        actions = low(episode, segment, _low_states(segment), rewards)
        result.append(decision)
        for action, progress in zip_longest(actions, _progress(episode, segment, rewards)):
            result += [transition for transition in (action, progress) if transition is not None]
    return result


def trajectories_of(transitions: Sequence[Transition]) -> list[list[Transition]]:
    """Group transitions into trajectories, in the order of their first transitions.

    A trajectory belongs to one role in one episode, and each of its transitions leads to the next.
    """
    trajectories: list[list[Transition]] = []
    open_trajectories: dict[tuple[str, Role], list[Transition]] = {}
    for transition in transitions:
        key = (transition.episode_id, transition.role)
        trajectory = open_trajectories.get(key)
        if trajectory is not None and trajectory[-1].next_state == transition.state:
            trajectory.append(transition)
        else:
            open_trajectories[key] = [transition]
            trajectories.append(open_trajectories[key])
    return trajectories


def deduplicate(transitions: Iterable[Transition]) -> list[Transition]:
    """Keep the first of all transitions with the same role, state and utterance, in order."""
    first: dict[tuple[Role, str, str], Transition] = {}
    for transition in transitions:
        first.setdefault((transition.role, transition.state, transition.utterance), transition)
    return list(first.values())


def high(episode: Episode) -> Iterator[Transition]:
    """High-level transitions: s = (c, G_k, p^_(k-1), o^k_0), u = g_k, r = the subtask's reward."""
    for segment, following in _with_following(episode.segments):
        over = following is None and _ended(segment)
        yield transition(
            episode,
            Role.HIGH,
            state=_high_state(episode, segment),
            utterance=high_level.utterance(segment.subtask) if segment.unreadable is None else segment.unreadable,
            reward=segment.reward,
            next_state=None if over else _high_state(episode, following or _interrupted(segment)),
            terminated=over,
            duration=max(1, segment.duration),
            clone_mask=not segment.is_noise,
        )


def _high_state(episode: Episode, segment: Segment) -> str:
    return high_level.render(
        high_level.State(
            episode.task.instruction,
            segment.completed_subtasks,
            segment.previous_final_progress,
            segment.first_observation,
        )
    )


def _ended(segment: Segment) -> bool:
    """Whether no state can follow: the episode terminated, or the high level's reply was unreadable."""
    return segment.ended_by == "unreadable" or any(step.terminated for step in segment.steps)


def _interrupted(segment: Segment) -> Segment:
    """A segment without steps that gives the high level's state after truncation."""
    return Segment(
        subtask="",
        completed_subtasks=(*segment.completed_subtasks, segment.subtask),
        previous_final_progress=segment.final_progress,
        first_observation=segment.steps[-1].next_observation if segment.steps else segment.first_observation,
        steps=(),
        ended_by="limit",
    )


def low(episode: Episode, segment: Segment, states: Sequence[str], rewards: Sequence[float]) -> Iterator[Transition]:
    """Low-level transitions of a segment: u = the action and its flag; the end of the subtask is terminal.

    ``states`` are the prompts before each step and the one after the last step.
    """
    for number, (step, after) in enumerate(_with_following(segment.steps)):
        over = _subtask_over(segment, step, after)
        decision = low_level.Decision(step.action, step.subtask_done)
        yield transition(
            episode,
            Role.LOW,
            state=states[number],
            utterance=low_level.utterance(decision) if step.unreadable is None else step.unreadable,
            reward=rewards[number],
            next_state=None if over else states[number + 1],
            terminated=over,
            clone_mask=not step.is_noise,
        )


def _low_states(segment: Segment) -> list[str]:
    """s = (g_k, p_t, o_t)."""
    read = [(step.local_progress, step.observation) for step in segment.steps]
    read += [(step.progress_after, step.next_observation) for step in segment.steps[-1:]]
    return [low_level.render(low_level.State(segment.subtask, progress, observation)) for progress, observation in read]


def _progress(episode: Episode, segment: Segment, rewards: Sequence[float]) -> Iterator[Transition]:
    """s = (g_k, p_(t-1), a_(t-1), o_t), u = p_t; reward and termination are those of the low-level step before."""
    for (step, following), reward in zip(_with_following(segment.steps), rewards, strict=True):
        if step.next_local_progress is None:
            continue  # the last step of an episode has no progress update
        unreadable = step.progress_unreadable
        over = _subtask_over(segment, step, following)
        if following is None and not over:
            continue  # the episode was interrupted here: the next state is unknown
        yield transition(
            episode,
            Role.PROGRESS,
            state=_progress_state(segment, step),
            utterance=local_progress.utterance(step.next_local_progress) if unreadable is None else unreadable,
            reward=reward,
            next_state=None if over or following is None else _progress_state(segment, following),
            terminated=over,
        )


def _progress_state(segment: Segment, step: Step) -> str:
    return local_progress.render(
        local_progress.State(segment.subtask, step.local_progress, step.action, step.next_observation)
    )


def _with_following(items: Sequence[Item]) -> Iterator[tuple[Item, Item | None]]:
    """Each item with the one after it.

    >>> list(_with_following("ab"))
    [('a', 'b'), ('b', None)]
    """
    return zip_longest(items, items[1:])


def _subtask_over(segment: Segment, step: Step, following: Step | None) -> bool:
    """Whether the subtask ended with a step; its flag does not suffice, see ``complete_on_invalid_action``."""
    return step.terminated or (following is None and segment.ended_by == "policy")


def low_rewards(segment: Segment, verifier: SubtaskVerifier) -> list[float]:
    """The low level's rewards: 1 at the step that completes the subtask, -1 for an invalid action, else 0."""
    rewards = [0.0 if step.is_valid_action else INVALID_ACTION_REWARD for step in segment.steps]
    if segment.steps and segment.steps[-1].subtask_done and segment.steps[-1].is_valid_action and verifier(segment):
        rewards[-1] = SUBTASK_REWARD
    return rewards


def transition(
    episode: Episode,
    role: Role,
    *,
    state: str,
    utterance: str,
    reward: float,
    next_state: str | None,
    terminated: bool,
    duration: int = 1,
    clone_mask: bool = True,
) -> Transition:
    """A transition of an episode."""
    return Transition(
        role, state, utterance, reward, next_state, terminated, duration, episode.id, episode.task.name, clone_mask
    )
