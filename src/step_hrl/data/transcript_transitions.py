"""Episodes cut into the transitions of agents that read transcripts. Pure; see ``transitions.py`` for the paper's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from step_hrl.data.ablations import without_local_progress
from step_hrl.data.transitions import SubtaskVerifier, high, low, low_rewards, transition, trust_policy
from step_hrl.prompts import transcript
from step_hrl.prompts.transcript import Bounds, Event
from step_hrl.types import Episode, Role, Step, Transition


def flat(episode: Episode, bounds: Bounds) -> list[Transition]:
    """Of one policy for everything: s = (c, transcript, o_t), u = the action, r = the world's reward."""
    states = _states(episode.task.instruction, "Task", episode.steps, bounds)
    misled = [bool(segment.is_noise) for segment in episode.segments for _ in segment.steps]
    return [
        transition(
            episode,
            Role.LOW,
            state=states[number],
            utterance=transcript.utterance(step.action) if step.unreadable is None else step.unreadable,
            reward=step.reward,
            next_state=None if step.terminated else states[number + 1],
            terminated=step.terminated,
            clone_mask=not (step.is_noise or misled[number]),
        )
        for number, step in enumerate(episode.steps)
    ]


def hierarchical(episode: Episode, bounds: Bounds, verifier: SubtaskVerifier = trust_policy) -> list[Transition]:
    """Of a high level that reads the completed subtasks, and a low level that reads the transcript of its subtask."""
    cut = list(high(without_local_progress(episode)))
    for segment in episode.segments:
        states = _states(segment.subtask, "Subtask", segment.steps, bounds)
        cut += low(episode, segment, states, low_rewards(segment, verifier))
    return cut


def after(events: tuple[Event, ...], step: Step) -> tuple[Event, ...]:
    """A transcript and one step more."""
    return (*events, Event(step.action, step.next_observation.full_text))


def _states(goal: str, label: str, steps: Sequence[Step], bounds: Bounds) -> list[str]:
    """The prompt before each step, and the one after the last."""
    if not steps:
        return []
    state = transcript.State(goal, (), steps[0].observation)
    states = [transcript.render(state, label, bounds)]
    for step in steps:
        state = replace(state, events=after(state.events, step), observation=step.next_observation)
        states.append(transcript.render(state, label, bounds))
    return states
