"""Demonstrations made by a world's expert in worker processes, one file, resumable."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from step_hrl.envs.base import TextEnv
from step_hrl.envs.pool import Reply, Slot, WorkerPool
from step_hrl.errors import WorkerLost
from step_hrl.experts.base import Demonstration, expert_for
from step_hrl.types import Episode, Task, episode_id

ATTEMPTS = 2
"""How often a demonstration is tried when its worker is lost; then it is recorded as failed."""


def demonstrate(
    tasks: Sequence[Task],
    pool: WorkerPool,
    *,
    action_limit: int,
    seed: int,
    on_episode: Callable[[Episode], None],
) -> None:
    """Have the expert show every task; episodes are handed over as they come, failures with ``Episode.error``.

    Raises :class:`~step_hrl.errors.WorldError` for a world without an expert or a task that does not exist.
    """
    for world in {task.env for task in tasks}:
        expert_for(world)
    queue = deque((task, 1) for task in tasks)
    running: dict[Slot, tuple[Task, int]] = {}
    while queue or running:
        while queue and (slot := pool.acquire()) is not None:
            running[slot] = queue.popleft()
            pool.call(slot, _show, running[slot][0], action_limit, seed)
        for reply in pool.poll(1.0):
            task, attempt = running.pop(reply.slot)
            pool.release(reply.slot)
            if isinstance(reply.error, WorkerLost) and (attempt < ATTEMPTS or not reply.blamed):
                queue.appendleft((task, attempt + reply.blamed))
            else:
                on_episode(_episode(reply, task, seed))


def _show(env: TextEnv, task: Task, action_limit: int, seed: int) -> Demonstration:
    """Runs in the worker."""
    return expert_for(task.env)(env, task, action_limit=action_limit, seed=seed)


def _episode(reply: Reply, task: Task, seed: int) -> Episode:
    if isinstance(reply.error, WorkerLost):
        error = f"{reply.error.where}: {reply.error.got}"
        return Episode(episode_id(task, seed), task, (), 0.0, False, seed, {"agent": "expert"}, error)
    if reply.error is not None:
        raise reply.error
    shown: Demonstration = reply.result
    facts = {
        **shown.episode.provenance,
        "agent": "expert",
        "subtask_kinds": ",".join(shown.subtask_kinds),
        "raw_actions": str(shown.raw_actions),
        "raw_score": f"{shown.raw_score:g}",
    }
    return replace(shown.episode, id=episode_id(task, seed), seed=seed, provenance=facts)
