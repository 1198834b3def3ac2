"""ScienceWorld steps per second without a model: our connection against the package's own wrapper.

    .venv/bin/python benchmarks/scienceworld_steps.py

Both replay the same gold paths, with one process and one JVM each, one after the other. Prints JSON.
"""

from __future__ import annotations

import json
import time
from typing import Any

from scienceworld import ScienceWorldEnv as StockEnv

from step_hrl.envs.scienceworld import ScienceWorld
from step_hrl.types import Task

TASKS = ("find-plant", "boil", "use-thermometer", "test-conductivity", "chemistry-mix")
STOCK_STEPS = 60
"""The stock wrapper is slow, so it takes fewer steps."""


def main() -> None:
    """Measure and print."""
    world = ScienceWorld()
    factory = world.open()
    env = factory.env()
    tasks = world.tasks("train", TASKS, per_task=3)
    paths = [(task, env.gold_actions(task)) for task in tasks]
    for task, actions in paths:  # warm up the JVM before time is measured
        replay(env, task, actions)
    steps, seconds, resets = 0, 0.0, 0.0
    for task, actions in paths:
        begun = time.perf_counter()
        env.reset(task)
        resets += time.perf_counter() - begun
        begun = time.perf_counter()
        for action in actions:
            steps += 1
            if env.step(action)[2]:
                break
        seconds += time.perf_counter() - begun
    factory.close()
    ours = steps / seconds
    stock = stock_rate(paths)
    figures = {
        "steps": steps,
        "steps_per_second": round(ours, 1),
        "reset_seconds": round(resets / len(paths), 3),
        "stock_steps_per_second": round(stock, 1),
        "ratio": round(ours / stock, 1),
    }
    print(json.dumps(figures, indent=1))


def replay(env: Any, task: Task, actions: list[str]) -> None:
    """Play a path once."""
    env.reset(task)
    for action in actions:
        if env.step(action)[2]:
            break


def stock_rate(paths: list[tuple[Task, list[str]]]) -> float:
    """Steps per second of the package's own wrapper on the same paths."""
    env = StockEnv("", envStepLimit=1000)
    steps, seconds = 0, 0.0
    for task, actions in paths:
        env.load(task.name, task.variation, "")
        env.reset()
        begun = time.perf_counter()
        for action in actions:
            steps += 1
            if env.step(action)[2] or steps >= STOCK_STEPS:
                break
        seconds += time.perf_counter() - begun
        if steps >= STOCK_STEPS:
            break
    env.close()
    return steps / seconds


if __name__ == "__main__":
    main()
