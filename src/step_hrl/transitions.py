"""Episodes cut into augmented step-level transitions (paper, section 3.2). Pure.

Every state is the prompt its role read, rendered by the same function as at acting.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import TypeVar

from step_hrl.roles import high_level, local_progress, low_level
from step_hrl.types import Episode, Role, Segment, Step, Transition

Item = TypeVar("Item")

SUBTASK_REWARD = 1.0
"""The low level's reward at the step that completes its subtask."""
NOT_UNDERSTOOD_REWARD = -1.0
"""The low level's reward for an action the world did not understand, or a reply that is none."""


def transitions(episode: Episode) -> list[Transition]:
    """All transitions of an episode: the high level's, then, subtask by subtask, the low level's and the progress'."""
    cut = list(_high(episode))
    for segment in episode.segments:
        cut += _low(episode, segment)
        cut += _progress(episode, segment)
    return cut


def distinct(cut: Iterable[Transition]) -> list[Transition]:
    """The first of all transitions that share role, state and utterance, in order."""
    first: dict[tuple[Role, str, str], Transition] = {}
    for transition in cut:
        first.setdefault((transition.role, transition.state, transition.utterance), transition)
    return list(first.values())


def _high(episode: Episode) -> Iterator[Transition]:
    """s = (c, G_k, p^_(k-1), o^k_0), u = g_k, r = the subtask's reward, s' = the next subtask's state."""
    for segment, following in _with_following(episode.segments):
        over = following is None and _ended(segment)
        yield _transition(
            episode,
            Role.HIGH,
            state=_high_state(episode, segment),
            utterance=high_level.utterance(segment.subtask) if segment.unreadable is None else segment.unreadable,
            reward=segment.reward,
            next_state=None if over else _high_state(episode, following or _interrupted(segment)),
            terminated=over,
            duration=max(1, segment.duration),
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
    """Whether nothing can follow: the world ended, or the high level said nothing that could be acted on."""
    return segment.ended_by == "unreadable" or any(step.terminated for step in segment.steps)


def _interrupted(segment: Segment) -> Segment:
    """The state after a cut at the action limit: as if the next subtask were asked for now."""
    return Segment(
        subtask="",
        completed_subtasks=(*segment.completed_subtasks, segment.subtask),
        previous_final_progress=segment.final_progress,
        first_observation=segment.steps[-1].next_observation if segment.steps else segment.first_observation,
        steps=(),
        ended_by="limit",
    )


def _low(episode: Episode, segment: Segment) -> Iterator[Transition]:
    """s = (g_k, p_t, o_t), u = the action and its flag; the subtask's end is terminal."""
    for step in segment.steps:
        over = _subtask_over(step)
        following = low_level.State(segment.subtask, _progress_after(step), step.next_observation)
        decision = low_level.Decision(step.action, step.subtask_done)
        yield _transition(
            episode,
            Role.LOW,
            state=low_level.render(low_level.State(segment.subtask, step.local_progress, step.observation)),
            utterance=low_level.utterance(decision) if step.unreadable is None else step.unreadable,
            reward=_low_reward(step),
            next_state=None if over else low_level.render(following),
            terminated=over,
            imitable=not step.perturbed,
        )


def _progress(episode: Episode, segment: Segment) -> Iterator[Transition]:
    """s = (g_k, p_(t-1), a_(t-1), o_t), u = p_t; reward and end mirror the low step that it follows."""
    for step, following in _with_following(segment.steps):
        if step.next_local_progress is None:
            continue  # the last step of an episode has no progress update
        unreadable = step.progress_unreadable
        over = _subtask_over(step)
        if following is None and not over:
            continue  # the episode broke here: what its update led to is not known
        yield _transition(
            episode,
            Role.PROGRESS,
            state=_progress_state(segment, step),
            utterance=local_progress.utterance(step.next_local_progress) if unreadable is None else unreadable,
            reward=_low_reward(step),
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


def _progress_after(step: Step) -> str:
    return step.local_progress if step.next_local_progress is None else step.next_local_progress


def _subtask_over(step: Step) -> bool:
    return step.subtask_done or step.terminated


def _low_reward(step: Step) -> float:
    if not step.understood:
        return NOT_UNDERSTOOD_REWARD
    return SUBTASK_REWARD if step.subtask_done else 0.0


def _transition(
    episode: Episode,
    role: Role,
    *,
    state: str,
    utterance: str,
    reward: float,
    next_state: str | None,
    terminated: bool,
    duration: int = 1,
    imitable: bool = True,
) -> Transition:
    return Transition(
        role, state, utterance, reward, next_state, terminated, duration, episode.id, episode.task.name, imitable
    )
