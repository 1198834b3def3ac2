"""Transitions of the agents that read transcripts. Pure; see ``transitions.py`` for those of the paper's agent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from step_hrl.data.ablations import without_local_progress
from step_hrl.data.transitions import SubtaskVerifier, high, low, low_rewards, transition, trust_policy
from step_hrl.prompts import transcript
from step_hrl.prompts.transcript import Bounds
from step_hrl.types import Episode, Role, Step, Transition


def flat(episode: Episode, bounds: Bounds) -> list[Transition]:
    """Transitions of one flat policy: s = (c, transcript, o_t), u = the action, r = the environment's reward."""
    prompts = _prompts("Task", episode.task.instruction, episode.steps, bounds)
    in_noisy_segment = [bool(segment.is_noise) for segment in episode.segments for _ in segment.steps]
    return [
        transition(
            episode,
            Role.LOW,
            state=prompts[number],
            utterance=transcript.utterance(step.action) if step.unreadable is None else step.unreadable,
            reward=step.reward,
            next_state=None if step.terminated else prompts[number + 1],
            terminated=step.terminated,
            clone_mask=not (step.is_noise or in_noisy_segment[number]),
        )
        for number, step in enumerate(episode.steps)
    ]


def hierarchical(episode: Episode, bounds: Bounds, verifier: SubtaskVerifier = trust_policy) -> list[Transition]:
    """Transitions of a high level without progress and a low level that reads the transcript of its subtask."""
    result = list(high(without_local_progress(episode)))
    for segment in episode.segments:
        prompts = _prompts("Subtask", segment.subtask, segment.steps, bounds)
        result += low(episode, segment, prompts, low_rewards(segment, verifier))
    return result


def _prompts(label: Literal["Task", "Subtask"], goal: str, steps: Sequence[Step], bounds: Bounds) -> list[str]:
    """The prompt before each step and the one after the last step."""
    if not steps:
        return []
    state = transcript.State(label, goal, (), steps[0].observation, bounds)
    prompts = [state.prompt]
    for step in steps:
        state = state.after(step)
        prompts.append(state.prompt)
    return prompts
