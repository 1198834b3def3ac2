"""Play thousands of episodes, killing a worker after every twenty: ``python -m tests.faults.soak``.

Prints for each environment how many episodes were recorded, how many of them failed because they lost their worker
twice, and the memory of the main process and of the largest worker, early and late.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.resource_tracker import ensure_running
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from step_hrl.config import WorldConfig
from step_hrl.data.episode_files import EpisodeWriter, read_episodes
from step_hrl.envs.pool import WorkerPool
from step_hrl.envs.registry import world_for
from step_hrl.experts.base import expert_for
from step_hrl.stages.demonstrations import demonstrate
from step_hrl.types import Episode, Job
from tests.faults.fault_harness import MARK, kill_orphans

EPISODES_PER_KILL = 20
START_SECONDS = 1.5
MEGABYTE = 2**20
MAX_GROWTH = 1.2


def jobs_of(world: str, count: int) -> Iterator[Job]:
    """Yield this many jobs: all train tasks in a random order, repeatedly."""
    tasks = world_for(WorldConfig(name=world)).tasks("train")
    random.Random(0).shuffle(tasks)
    for number in range(count):
        yield Job(tasks[number % len(tasks)], repeat=number // len(tasks))


def memory(pool: WorkerPool) -> tuple[float, float]:
    """Megabytes of this process, and of the largest worker with the processes it started."""
    workers: list[float] = []
    for number in pool.process_ids:
        with suppress(psutil.Error):
            worker = psutil.Process(number)
            workers.append(sum(each.memory_info().rss for each in (worker, *worker.children(recursive=True))))
    return psutil.Process().memory_info().rss / MEGABYTE, max(workers, default=0.0) / MEGABYTE


def wait_for_start(pool: WorkerPool) -> None:
    """Wait until the youngest worker has had time to open its environment: three deaths before that are an error."""
    while time.time() - max(psutil.Process(number).create_time() for number in pool.process_ids) < START_SECONDS:
        time.sleep(0.1)


def soak(world: str, count: int, file: Path) -> list[str]:
    """Play and return a row of the table. Raises AssertionError for a lost episode, growing memory, or an orphan."""
    ensure_running()  # before the mark is set: multiprocessing's resource tracker lives as long as this process
    os.environ[MARK] = str(file)
    draw, jobs = random.Random(0), list(jobs_of(world, count))
    config = WorldConfig(name=world)
    sizes: list[tuple[float, float]] = []
    kills = 0
    with (
        EpisodeWriter(file) as writer,
        WorkerPool(world_for(config), workers=2, simulators_per_worker=4, max_episode_steps=100) as pool,
    ):

        def keep(episode: Episode) -> None:
            nonlocal kills
            writer.write(episode)
            if len(writer.done) % EPISODES_PER_KILL == 0:
                wait_for_start(pool)
                sizes.append(memory(pool))
                os.kill(draw.choice(pool.process_ids), signal.SIGKILL)
                kills += 1

        demonstrate(jobs, expert_for(world), pool, keep, action_noise=0.1)
    assert not kill_orphans(str(file))
    found = read_episodes(file)
    assert {episode.id for episode in found} == {job.id for job in jobs}
    assert len(found) == len(jobs)
    early, late = sizes[len(sizes) // 5 :][:5], sizes[-5:]
    before, after = (tuple(max(each) for each in zip(*some, strict=True)) for some in (early, late))
    assert after[0] < MAX_GROWTH * before[0], f"this process grew from {before[0]:.0f} to {after[0]:.0f} MB"
    failed = sum(episode.error is not None for episode in found)
    main, workers = (f"{first:.0f} to {last:.0f}" for first, last in zip(before, after, strict=True))
    return [world, str(len(found)), str(kills), str(failed), main, workers]


def main() -> int:
    """Soak both environments and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pantry", type=int, default=2000)
    parser.add_argument("--scienceworld", type=int, default=200)
    options = parser.parse_args()
    table = Table("environment", "episodes", "workers killed", "failed", "main process, MB", "largest worker, MB")
    with tempfile.TemporaryDirectory(prefix="step-hrl-soak-") as folder:
        for world in ("pantry", "scienceworld"):
            table.add_row(*soak(world, getattr(options, world), Path(folder) / f"{world}.jsonl"))
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
