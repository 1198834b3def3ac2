"""ALFWorld steps per second without a model: our environment against the unmodified packages.

    .venv/bin/python benchmarks/alfworld_steps.py

Both replay the benchmark's own solutions of the same games, each in its own process, one after the other. Then our
environment plays 200 games to measure how its memory grows. Needs the games (`alfworld-download`, or ALFWORLD_DATA).
Prints JSON.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from step_hrl.envs.alfworld import Alfworld
from step_hrl.envs.alfworld_games import data_folder, find_games
from step_hrl.types import Task

GAMES_PER_TYPE = 5
LONG_RUN_GAMES = 200
WARMUP_GAMES = 20
"""Games before memory is first measured: by then all caches are full."""


def main() -> None:
    """Measure and print."""
    if not (data_folder() / "json_2.1.1" / "valid_seen").is_dir():
        print(f"no ALFWorld games under {data_folder()}: run `alfworld-download`, or set ALFWORLD_DATA")
        return
    ours, stock = in_process(measure_ours), in_process(measure_stock)
    ratios = {f"{key}_ratio": round(stock[key] / ours[key], 1) for key in ours}
    figures = {"ours": rounded(ours), "stock": rounded(stock), **ratios, **in_process(memory)}
    figures["steps_per_second"] = round(1 / ours["step_seconds"], 1)
    print(json.dumps(figures, indent=1))


def in_process(function: Callable[[Connection], None]) -> dict[str, float]:
    """Run a measurement in a process of its own, as our environment patches the packages."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe()
    process = context.Process(target=function, args=(sender,))
    process.start()
    sender.close()
    found = receiver.recv()
    process.join()
    return found


def rounded(figures: dict[str, float]) -> dict[str, float]:
    return {key: round(value, 4) for key, value in figures.items()}


def games() -> list[tuple[Task, Path, list[str]]]:
    """Some games of each type, each with its own solution."""
    files = find_games(data_folder(), "seen").files
    tasks = Alfworld().tasks("seen", per_task=GAMES_PER_TYPE)
    return [(task, files[task.name][task.variation], solution(files[task.name][task.variation])) for task in tasks]


def solution(file: Path) -> list[str]:
    return json.loads(file.read_text(encoding="utf-8"))["walkthrough"]


def measure_ours(sender: Connection) -> None:
    env = Alfworld().open().env()

    def start(task: Task, file: Path) -> None:
        env.reset(task)

    sender.send(measured(start, start, lambda action: env.step(action)[2]))


def measure_stock(sender: Connection) -> None:
    from alfworld.agents.environment.alfred_tw_env import AlfredDemangler
    from textworld import EnvInfos
    from textworld.envs.pddl import PddlEnv

    game: Any = AlfredDemangler(PddlEnv(EnvInfos(won=True, facts=True)))

    def first(task: Task, file: Path) -> None:
        game.load(str(file))
        game.reset()

    sender.send(measured(first, lambda task, file: game.reset(), lambda action: game.step(action)[2]))


def measured(
    first: Callable[[Task, Path], None], again: Callable[[Task, Path], None], step: Callable[[str], bool]
) -> dict[str, float]:
    """Mean seconds of loading a new game, of resetting it, and of a step."""
    played = games()
    task, file, _ = played.pop(0)
    first(task, file)  # imports and first parses
    seconds = {"first_reset_seconds": 0.0, "reset_seconds": 0.0, "step_seconds": 0.0}
    steps = 0
    for task, file, actions in played:
        clock = [time.perf_counter()]
        first(task, file)
        clock.append(time.perf_counter())
        again(task, file)
        clock.append(time.perf_counter())
        won = [step(action) for action in actions]
        clock.append(time.perf_counter())
        assert won[-1], f"{file} was not won by its own solution"
        steps += len(actions)
        for key, begun, ended in zip(seconds, clock, clock[1:], strict=False):
            seconds[key] += ended - begun
    counts = {"first_reset_seconds": len(played), "reset_seconds": len(played), "step_seconds": steps}
    return {key: total / counts[key] for key, total in seconds.items()}


def memory(sender: Connection) -> None:
    """Megabytes after some games and after many, in one environment."""
    env = Alfworld().open().env()
    files = find_games(data_folder(), "train").files
    tasks = Alfworld().tasks("train", per_task=-(-LONG_RUN_GAMES // len(files)))[:LONG_RUN_GAMES]
    found: dict[str, float] = {}
    for number, task in enumerate(tasks, start=1):
        env.reset(task)
        for action in solution(files[task.name][task.variation]):
            env.step(action)
        if number in (WARMUP_GAMES, LONG_RUN_GAMES):
            found[f"megabytes_after_{number}_games"] = round(resident_megabytes())
    sender.send(found)


def resident_megabytes() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    main()
