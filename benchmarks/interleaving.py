"""Episodes per minute: 32 interleaved episodes against one at a time, with the same model and tasks.

    .venv/bin/python benchmarks/interleaving.py [POLICY_FOLDER]    # default: the quickstart's stage 1

Plays ScienceWorld train variations with a trained policy. Both variants play the same tasks and alternate, so that load
on the machine affects both. The queue holds three times as many episodes as are played at once, so that the end, where
few are left to share a batch, does not dominate; no task is played twice, as a greedy engine remembers its answers.
Prints JSON.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from step_hrl.agents.step_hrl import StepHrlAgent
from step_hrl.config import BackboneConfig, GenerationConfig
from step_hrl.engines.transformers import TransformersEngine
from step_hrl.envs.pool import WorkerPool
from step_hrl.envs.scienceworld import ScienceWorld
from step_hrl.models import backbone
from step_hrl.rollout import rollout
from step_hrl.types import Episode, Job, Task

QUICKSTART = "runs/quickstart/behavior_cloning/policy"
TASKS = ("find-living-thing", "find-non-living-thing", "lifespan-longest-lived", "lifespan-shortest-lived")
INTERLEAVED = 32
WORKERS = 2
ROUNDS = 2
VARIATIONS = 24
"""Of each task: 96 episodes in an interleaved round."""
ALONE_EVERY = 13
"""A round one at a time plays every thirteenth episode, different ones in each round."""


@dataclass
class Totals:
    """What one variant has played so far."""

    episodes: int = 0
    actions: int = 0
    seconds: float = 0.0

    def per_minute(self) -> dict[str, float]:
        """Rates, rounded for reading."""
        scale = 60 / self.seconds
        return {"episodes": round(self.episodes * scale, 2), "actions": round(self.actions * scale, 1)}


def main() -> None:
    """Measure and print."""
    policy = Path(sys.argv[1] if len(sys.argv) > 1 else QUICKSTART)
    if not policy.is_dir():
        sys.exit(f"{policy}: no policy there; train one with `make quickstart`, or name another folder")
    model = backbone.load(BackboneConfig(source=str(policy)))
    engine = TransformersEngine(model, GenerationConfig())
    world = ScienceWorld()
    by_name = [world.tasks("train", [name], VARIATIONS) for name in TASKS]
    tasks = [task for one_of_each in zip(*by_name, strict=True) for task in one_of_each]
    together, alone = Totals(), Totals()
    with WorkerPool(world, workers=WORKERS, simulators_per_worker=INTERLEAVED // WORKERS, max_episode_steps=30) as pool:
        play(tasks[:4], engine, pool, 4)  # warm up JVMs and kernels before time is measured
        for number in range(ROUNDS):
            part = tasks[number::ALONE_EVERY]
            for totals, chosen, concurrent in ((together, tasks, INTERLEAVED), (alone, part, 1)):
                begun = time.perf_counter()
                totals.actions += play(chosen, engine, pool, concurrent)
                totals.seconds += time.perf_counter() - begun
                totals.episodes += len(chosen)
    figures = {
        "policy": str(policy),
        "interleaved": together.per_minute(),
        "one_at_a_time": alone.per_minute(),
        "ratio_episodes": round(together.per_minute()["episodes"] / alone.per_minute()["episodes"], 2),
        "ratio_actions": round(together.per_minute()["actions"] / alone.per_minute()["actions"], 2),
    }
    print(json.dumps(figures, indent=1))


def play(tasks: list[Task], engine: TransformersEngine, pool: WorkerPool, concurrent: int) -> int:
    """Play the tasks; return the number of actions taken."""
    episodes: list[Episode] = []
    jobs = [Job(task) for task in tasks]
    rollout(jobs, StepHrlAgent(), engine, pool, concurrent=concurrent, on_episode=episodes.append)
    return sum(len(episode.steps) for episode in episodes)


if __name__ == "__main__":
    main()
