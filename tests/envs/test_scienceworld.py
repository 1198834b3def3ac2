"""The real ScienceWorld: manifest, environment and worker processes."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from step_hrl.config import WorldConfig
from step_hrl.envs.pool import WorkerPool
from step_hrl.envs.registry import world_for
from step_hrl.envs.scienceworld import ScienceWorld, ScienceWorldFactory, ScienceWorldOptions, load_manifest
from step_hrl.errors import WorkerLost, WorldError
from step_hrl.types import Observation, Task

pytestmark = pytest.mark.scienceworld
pytest.importorskip("scienceworld", reason="needs the scienceworld extra")

FIND = Task("scienceworld", "find-non-living-thing", 0, "train")


@pytest.fixture(scope="module")
def factory() -> Iterator[ScienceWorldFactory]:
    opened = ScienceWorld().open()
    yield opened
    opened.close()


def trajectory(factory: ScienceWorldFactory, task: Task, actions: list[str]) -> list[tuple[Observation, float]]:
    env = factory.env()
    seen = [(env.reset(task)[0], 0.0)]
    for action in actions:
        observation, reward, terminated, _, _ = env.step(action)
        seen.append((observation, reward))
        if terminated:
            break
    return seen


def test_the_manifest_has_the_reference_sizes() -> None:
    splits = load_manifest().splits
    assert len(splits) == 24
    totals = {split: sum(len(task[split]) for task in splits.values()) for split in ("train", "dev", "test")}
    assert totals == {"train": 1404, "dev": 195, "test": 211}
    for task in splits.values():
        assert not set(task["train"]) & {*task["dev"], *task["test"]}
        assert not set(task["dev"]) & set(task["test"])


def test_gold_actions_reach_the_full_score_and_rewards_sum_to_it(factory: ScienceWorldFactory) -> None:
    env = factory.env()
    for name in ("find-non-living-thing", "lifespan-longest-lived", "power-component"):
        task = Task("scienceworld", name, 1, "train")
        actions = env.gold_actions(task)
        env.reset(task)
        total, info = 0.0, {}
        for action in actions:
            _, reward, terminated, _, info = env.step(action)
            total += reward
            if terminated:
                break
        assert info["score"] == info["success"] == 1.0
        assert total == pytest.approx(1.0)


def test_a_wrong_focus_ends_the_episode_at_zero(factory: ScienceWorldFactory) -> None:
    env = factory.env()
    env.reset(Task("scienceworld", "lifespan-longest-lived", 0, "train"))
    path = ["open door to greenhouse", "go to greenhouse", "open door to outside", "go to outside"]
    earned = sum(env.step(action)[1] for action in path)
    assert earned > 0
    _, reward, terminated, truncated, info = env.step("focus on orange")
    assert (terminated, truncated, info["score"], info["success"]) == (True, False, 0.0, False)
    assert reward == pytest.approx(-earned)


def test_an_invalid_action_costs_no_tick(factory: ScienceWorldFactory) -> None:
    env = factory.env()
    observation, info = env.reset(FIND)
    assert info["instruction"].startswith("Your task is to find a non-living thing.")
    assert observation.look is not None
    assert " | Doors: " in observation.look
    after, reward, terminated, _, info = env.step("dance wildly")
    assert (info["is_valid_action"], info["ticks"], reward, terminated) == (False, 0, 0.0, False)
    assert after.look == observation.look
    _, _, _, _, info = env.step("wait")
    assert info["is_valid_action"]
    assert info["ticks"] > 1


def test_the_tick_limit_truncates() -> None:
    factory = ScienceWorld(ScienceWorldOptions(tick_limit=5)).open()
    env = factory.env()
    env.reset(FIND)
    assert env.step("wait")[3] is True
    factory.close()


def test_trajectories_do_not_depend_on_the_jvm_or_on_other_episodes(factory: ScienceWorldFactory) -> None:
    task = Task("scienceworld", "use-thermometer", 3, "train")
    actions = factory.env().gold_actions(task)
    other = ScienceWorld().open()
    disturbing = other.env()
    disturbing.reset(FIND)
    beside: list[tuple[Observation, float]] = []
    env = other.env()
    beside.append((env.reset(task)[0], 0.0))
    for action in actions:
        disturbing.step("wait1")
        observation, reward, terminated, _, _ = env.step(action)
        beside.append((observation, reward))
        if terminated:
            break
    other.close()
    assert trajectory(factory, task, actions) == beside


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (Task("scienceworld", "find-plants", 0, "train"), "did you mean find-plant?"),
        (Task("scienceworld", "find-plant", 10**6, "train"), "no such variation; choose 0 to "),
    ],
)
def test_unknown_tasks_and_variations_are_errors(factory: ScienceWorldFactory, task: Task, message: str) -> None:
    with pytest.raises(WorldError, match=message.replace("?", r"\?")):
        factory.env().reset(task)


def test_unknown_names_in_a_recipe_get_a_suggestion() -> None:
    world = ScienceWorld()
    with pytest.raises(WorldError, match="did you mean boil"):
        world.tasks("train", ["boill"])
    with pytest.raises(WorldError, match="did you mean dev"):
        world.tasks("dve")
    with pytest.raises(Exception, match=r"world.options: tick_limits: unknown key; did you mean tick_limit\?"):
        world_for(WorldConfig(name="scienceworld", options={"tick_limits": 3}))


def test_a_killed_jvm_is_replaced_and_leaves_no_orphan() -> None:
    with WorkerPool(
        ScienceWorld(), workers=1, simulators_per_worker=2, max_episode_steps=50, step_timeout_seconds=60
    ) as pool:
        slot = pool.acquire()
        assert slot is not None
        pool.reset(slot, FIND, 0)
        [reply] = wait_for(pool)
        assert reply.error is None
        [jvm] = children(pool.process_ids[0])
        os.kill(jvm, signal.SIGKILL)
        pool.step(slot, "wait1")
        [reply] = wait_for(pool)
        assert isinstance(reply.error, WorkerLost)
        assert reply.blamed
        pool.release(slot)
        again = pool.acquire()
        assert again is not None
        pool.reset(again, FIND, 0)
        [reply] = wait_for(pool)
        assert reply.error is None
        processes = [pool.process_ids[0], *children(pool.process_ids[0])]
    deadline = time.monotonic() + 10
    while any(alive(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [process for process in processes if alive(process)]


def wait_for(pool: WorkerPool) -> list:
    for _ in range(120):
        if replies := pool.poll(1.0):
            return replies
    raise AssertionError("the pool never answered")


def children(process: int) -> list[int]:
    listed = subprocess.run(["ps", "-o", "pid=,comm=", "--ppid", str(process)], capture_output=True, text=True)
    return [int(line.split()[0]) for line in listed.stdout.splitlines() if line.split()[1] != "ps"]


def alive(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
