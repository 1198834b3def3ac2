"""Demonstrations without a language model: the expert plays, and where it falls short a cleaned gold path is replayed.

Whatever is kept was played in the real world: its score is the world's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from step_hrl.experts.base import Demonstration
from step_hrl.experts.scienceworld import cleaning, high_level, low_level, segmentation, subtasks
from step_hrl.experts.scienceworld.recording import Chooser, GoldEnv, Recording
from step_hrl.prompts.low_level import Decision
from step_hrl.types import Observation, Task

_REPEATS = 3
"""After so many times the same subtask in a row the rules are given up."""


def demonstrate(
    env: GoldEnv, task: Task, *, max_episode_steps: int = 100, seed: int = 0, perturbed: float = 0.0, repeat: int = 0
) -> Demonstration:
    """Play a task as the expert would, within ``max_episode_steps`` actions.

    With ``perturbed``, that share of its actions is replaced by mistakes drawn from task, seed and repeat, and that
    share of its subtasks by ones that cannot be done; where the expert does not find its way back to the full score,
    the task is shown without.

    The expert's own rules go first. Where they do not reach the full score, the gold path is replayed, cleaned less
    and less, and the best of all is kept; ties go to the rules, then to the cleanest. The episode's provenance says
    which: ``canonical`` (the rules), ``renamed``, ``pruned`` or ``raw``. ``raw_actions`` and ``raw_score`` are the gold
    path's where it was looked at.

    Raises :class:`~step_hrl.errors.WorldError` where the task does not exist.
    """
    if perturbed > 0:
        astray = _played(Recording(env, task, max_episode_steps, seed, perturbed, repeat), "perturbed")
        if astray.episode.success:
            return astray
    best = _played(Recording(env, task, max_episode_steps, seed), "canonical")
    if best.episode.success:
        return best
    trace, raw_score = _trace(env, task, env.gold_actions(task), max_episode_steps)
    raw = [step.action for step in trace]
    for path, actions in (("renamed", cleaning.rename(trace)), ("pruned", cleaning.prune(trace)), ("raw", raw)):
        if best.episode.score >= raw_score:
            break
        candidate = _replayed(env, task, actions, path, max_episode_steps, seed)
        if candidate.episode.score > best.episode.score:
            best = candidate
    return replace(best, raw_actions=len(raw), raw_score=raw_score)


def _played(recording: Recording, path: str) -> Demonstration:
    while not recording.over:
        subtask = high_level.next_subtask(
            recording.task.instruction, recording.completed, recording.final_progress, recording.observation
        )
        if subtask is None or recording.completed[-_REPEATS:] == (subtask,) * _REPEATS:
            break
        wrong = recording.wrong_subtask(subtask)
        recording.run(wrong or subtask, subtasks.read(subtask).kind, low_level.act, wrong_subtask=wrong is not None)
    return _finished(recording, path)


def _replayed(
    env: GoldEnv, task: Task, actions: Sequence[str], path: str, max_episode_steps: int, seed: int
) -> Demonstration:
    recording = Recording(env, task, max_episode_steps, seed)
    for cut in segmentation.cut(actions):
        if recording.over:
            break
        recording.run(cut.subtask, cut.kind, _script(actions[cut.start : cut.end]))
    return _finished(recording, path)


def _script(actions: Sequence[str]) -> Chooser:
    """A low level that plays given actions, whatever it sees; the last one completes the subtask."""
    remaining = [Decision(action, False) for action in actions[:-1]] + [Decision(actions[-1], True)]

    def choose(subtask: str, local_progress: str, observation: Observation) -> Decision | None:
        return remaining.pop(0) if remaining else None

    return choose


def _finished(recording: Recording, path: str) -> Demonstration:
    episode = recording.episode(path)
    return Demonstration(episode, tuple(recording.kinds), len(episode.steps), episode.score)


def _trace(env: GoldEnv, task: Task, actions: Sequence[str], limit: int) -> tuple[list[cleaning.Trace], float]:
    observation, _ = env.reset(task)
    trace, score = list[cleaning.Trace](), 0.0
    for action in actions[:limit]:
        after, reward, terminated, truncated, _ = env.step(action)
        trace.append(cleaning.Trace(observation, action, after))
        observation, score = after, score + reward
        if terminated or truncated:
            break
    return trace, score
