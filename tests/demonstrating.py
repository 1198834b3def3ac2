"""Demonstrates one task in this process; the stage uses worker processes."""

from __future__ import annotations

from step_hrl.envs.base import TextEnv
from step_hrl.envs.pool import LocalPool
from step_hrl.experts.base import expert_for
from step_hrl.stages.demonstrations import demonstrate
from step_hrl.types import Episode, Job, Task


def show(
    env: TextEnv,
    task: Task,
    *,
    max_episode_steps: int = 100,
    seed: int = 0,
    action_noise: float = 0.0,
    repeat: int = 0,
) -> Episode:
    """The episode that the expert of the task's world demonstrates."""
    episodes: list[Episode] = []
    pool = LocalPool(env, max_episode_steps)
    demonstrate([Job(task, seed, repeat)], expert_for(task.env), pool, episodes.append, action_noise=action_noise)
    return episodes[0]
