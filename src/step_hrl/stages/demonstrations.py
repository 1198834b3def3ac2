"""Demonstrations made by a world's expert in worker processes, one file, resumable."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from step_hrl.config import DemonstrationsConfig
from step_hrl.envs.base import TextEnv
from step_hrl.envs.other_names import OtherNames
from step_hrl.envs.pool import Reply, Slot, WorkerPool
from step_hrl.errors import WorkerLost
from step_hrl.experts.base import Demonstration, expert_for, things_of
from step_hrl.runs import signals
from step_hrl.types import Episode, Job, Task

ATTEMPTS = 2
"""How often a demonstration is tried when its worker is lost; then it is recorded as failed."""


def demonstration_jobs(tasks: Sequence[Task], config: DemonstrationsConfig, seed: int) -> list[Job]:
    """What the expert must show, task by task; see ``demonstrations.per_task``."""
    variations: dict[str, list[Task]] = {}
    for task in tasks:
        variations.setdefault(task.name, []).append(task)
    jobs: list[Job] = []
    for same in variations.values():
        count = config.per_task if config.per_task and config.action_noise > 0 else len(same)
        jobs += [Job(same[n % len(same)], seed, n // len(same)) for n in range(count)]
    return jobs


def demonstrate(
    jobs: Sequence[Job],
    pool: WorkerPool,
    *,
    max_episode_steps: int,
    perturbed: float,
    renamed: float = 0.0,
    on_episode: Callable[[Episode], None],
) -> None:
    """Have the expert do every job; episodes are handed over as they come, failures with ``Episode.error``.

    A share ``renamed`` of them, drawn from the job, is shown where things have other names.

    Raises :class:`~step_hrl.errors.WorldError` for a world without an expert or a task that does not exist, and
    :class:`~step_hrl.runs.signals.Stopped` where somebody asked to stop before all were begun.
    """
    for world in {job.task.env for job in jobs}:
        expert_for(world)
    queue = deque((job, 1) for job in jobs)
    running: dict[Slot, tuple[Job, int]] = {}
    while running or (queue and not signals.asked()):
        while queue and not signals.asked() and (slot := pool.acquire()) is not None:
            running[slot] = queue.popleft()
            pool.call(slot, _show, running[slot][0], max_episode_steps, perturbed, renamed)
        for reply in pool.poll(1.0):
            job, attempt = running.pop(reply.slot)
            pool.release(reply.slot)
            if isinstance(reply.error, WorkerLost) and (attempt < ATTEMPTS or not reply.blamed):
                queue.appendleft((job, attempt + reply.blamed))
            else:
                on_episode(_episode(reply, job))
    if queue:
        raise signals.stopped()


def _show(env: TextEnv, job: Job, max_episode_steps: int, perturbed: float, renamed: float) -> Demonstration:
    """Runs in the worker."""
    expert = expert_for(job.task.env)
    draw = random.Random(f"names {job.task.key} {job.seed} {job.repeat}")
    names = "other" if draw.random() < renamed else "own"
    if names == "other":
        env = OtherNames(env, things_of(job.task.env), draw)
    shown = expert(
        env, job.task, max_episode_steps=max_episode_steps, seed=job.seed, perturbed=perturbed, repeat=job.repeat
    )
    facts = {**shown.episode.provenance, "names": names}
    return replace(shown, episode=replace(shown.episode, provenance=facts))


def _episode(reply: Reply, job: Job) -> Episode:
    if isinstance(reply.error, WorkerLost):
        error = f"{reply.error.where}: {reply.error.got}"
        return Episode(job.id, job.task, (), 0.0, False, job.seed, {"agent": "expert"}, error)
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
    return replace(shown.episode, id=job.id, seed=job.seed, provenance=facts)
