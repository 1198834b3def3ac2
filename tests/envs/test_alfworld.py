"""ALFWorld through the real packages, on games that the tests write and on the benchmark's games if installed."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from tests.alfworld_fixtures import write_game, write_games

from step_hrl.config import WorldConfig
from step_hrl.envs import alfworld_speed
from step_hrl.envs.alfworld import Alfworld, AlfworldEnv, AlfworldOptions, look
from step_hrl.envs.alfworld_games import DIALECT, TASK_TYPES, data_folder, find_games
from step_hrl.envs.pool import Reply, WorkerPool
from step_hrl.envs.registry import world_for
from step_hrl.errors import WorkerLost, WorldError
from step_hrl.types import Task

pytestmark = pytest.mark.alfworld
pytest.importorskip("alfworld", reason="needs the alfworld extra")

PEN = Task("alfworld", "pick_and_place_simple", 0, "train")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alfworld")
    write_games(folder, "train", "seen")
    return folder


@pytest.fixture(scope="module")
def world(data: Path) -> Alfworld:
    return Alfworld(AlfworldOptions(data=str(data)))


@pytest.fixture(scope="module")
def env(world: Alfworld) -> Iterator[AlfworldEnv]:
    factory = world.open()
    yield factory.env()
    factory.close()


def test_a_game_is_won_step_by_step(env: AlfworldEnv) -> None:
    observation, info = env.reset(PEN)
    room = "Room: bed 1, cabinet 1-2, countertop 1, desk 1, drawer 1, fridge 1, microwave 1, sidetable 1, sinkbasin 1."
    assert info == {"instruction": "put some pen on sidetable"}
    assert observation.text == "You are in the middle of a room."
    assert observation.full_text.startswith(f"{observation.text} Looking quickly around you, you see a ")
    assert "Welcome" not in observation.full_text
    assert "task" not in observation.full_text
    assert (observation.look, observation.inventory) == (room, "")
    observation, reward, terminated, truncated, info = env.step("go to desk 1")
    assert observation.text == "You arrive at desk 1."
    assert observation.full_text.startswith("You arrive at desk 1. On the desk 1, you see a book ")
    # The drawer is within reach: going there is neither needed nor possible.
    assert observation.look is not None
    assert observation.look.startswith("At desk 1: book 1. At drawer 1: closed. Room: ")
    assert (reward, terminated, truncated) == (0.0, False, False)
    assert info == {"score": 0.0, "success": False, "is_valid_action": True}
    observation, _, _, _, info = env.step("go to drawer 1")
    assert observation.text == "Nothing happens."
    assert info["is_valid_action"] is False
    observation, *_ = env.step("open drawer 1")
    assert "At drawer 1: pen 1. " in str(observation.look)
    observation, *_ = env.step("take pen 1 from drawer 1")
    assert observation.inventory == "pen 1"
    assert "At drawer 1: nothing. " in str(observation.look)
    env.step("go to sidetable 1")
    _, reward, terminated, _, info = env.step("move pen 1 to sidetable 1")
    assert (reward, terminated) == (1.0, True)
    assert info == {"score": 1.0, "success": True, "is_valid_action": True}


def test_reset_does_not_depend_on_earlier_episodes(env: AlfworldEnv) -> None:
    first = env.reset(PEN)
    env.step("go to desk 1")
    env.step("open drawer 1")
    env.reset(Task("alfworld", "look_at_obj_in_light", 0, "seen"))
    env.step("go to bed 1")
    assert env.reset(PEN) == first


def test_look_describes_every_receptacle_within_reach() -> None:
    facts = [
        ("atlocation", ["agent1 ", "loc 4"]),
        *(("receptacleatlocation", [name, "loc 4"]) for name in ("drawer 10", "drawer 2", "desk 1")),
        ("receptacleatlocation", ["shelf 1", "loc 5"]),
        *(("openable", [name]) for name in ("drawer 10", "drawer 2")),
        ("opened", ["drawer 2"]),
        ("inreceptacle", ["cd 10", "desk 1"]),
        ("inreceptacle", ["cd 9", "desk 1"]),
        ("inreceptacle", ["watch 1", "drawer 10"]),
        ("inreceptacle", ["vase 1", "shelf 1"]),
    ]
    sights = "At desk 1: cd 9, cd 10. At drawer 2: nothing. At drawer 10: closed."
    assert look(facts) == f"{sights} Room: desk 1, drawer 2, drawer 10, shelf 1."


def test_tasks_are_listed_by_type_in_the_order_of_their_paths(data: Path, world: Alfworld, tmp_path: Path) -> None:
    assert [task.key for task in world.tasks("seen")] == [f"{name}:0" for name in TASK_TYPES]
    for trial in ("trial_3", "trial_1", "trial_2"):
        write_game(tmp_path, "train", "look_at_obj_in_light", trial)
    write_game(tmp_path, "train", "pick_two_obj_and_place", solvable=False)
    games = find_games(tmp_path, "train")
    assert [file.parent.name for file in games.files["look_at_obj_in_light"]] == ["trial_1", "trial_2", "trial_3"]
    assert (games.count, games.unsolvable) == (3, 1)
    provenance = Alfworld(AlfworldOptions(data=str(tmp_path))).provenance("train")
    assert provenance["dialect"] == DIALECT
    assert provenance["games"] == f"train: 3 (1 unsolvable left out) sha256:{games.digest[:16]}"
    write_game(tmp_path, "seen", "look_at_obj_in_light", "trial_1")
    assert games.digest != find_games(tmp_path, "seen").digest
    assert len(world.tasks("train", ["look_at_obj_in_light"], per_task=5)) == 1


def test_the_data_folder_is_set_by_an_environment_variable(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALFWORLD_DATA", str(data))
    world = world_for(WorldConfig(name="alfworld"))
    assert len(world.tasks("train")) == 6
    monkeypatch.delenv("ALFWORLD_DATA")
    assert data_folder() == Path("~/.cache/alfworld").expanduser()


@pytest.mark.parametrize(
    ("split", "task", "message"),
    [
        ("tset", None, "alfworld split 'tset': unknown; known: train, dev, seen, unseen"),
        ("unseen", None, "no games that can be solved under"),
        ("train", "pick_and_place", "alfworld task 'pick_and_place': unknown; did you mean pick_and_place_simple?"),
    ],
)
def test_unknown_splits_and_tasks_are_named(world: Alfworld, split: str, task: str | None, message: str) -> None:
    with pytest.raises(WorldError, match=message.replace("?", r"\?")):
        world.tasks(split, [task] if task else None)


def test_unknown_variations_are_errors(env: AlfworldEnv) -> None:
    with pytest.raises(WorldError, match="no such variation; choose 0 to 0"):
        env.reset(Task("alfworld", PEN.name, 3, "train"))
    with pytest.raises(WorldError, match="unknown; did you mean"):
        env.reset(Task("alfworld", "pick_two_obj", 0, "train"))


def test_a_step_before_any_reset_is_an_error(world: Alfworld) -> None:
    with pytest.raises(WorldError, match="a step before any reset"):
        world.open().env().step("look")


def test_a_truncated_game_is_refused_when_tasks_are_listed(tmp_path: Path) -> None:
    file = write_game(tmp_path, "train", PEN.name)
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(WorldError, match=r"game\.tw-pddl: damaged .*; download it again"):
        Alfworld(AlfworldOptions(data=str(tmp_path))).tasks("train")


@pytest.mark.parametrize(
    "problem", ["(define (problem", "(define (problem home) (:domain alfred) (:objects x - thing)"]
)
def test_an_unreadable_game_is_refused_at_reset(tmp_path: Path, problem: str) -> None:
    file = write_game(tmp_path, "train", PEN.name)
    file.write_text(json.dumps({**json.loads(file.read_text()), "pddl_problem": problem}))
    world = Alfworld(AlfworldOptions(data=str(tmp_path)))
    with pytest.raises(WorldError, match=r"game\.tw-pddl: damaged .*; download it again") as error:
        world.open().env().reset(PEN)
    assert "\n" not in str(error.value)


def test_games_of_another_dialect_are_refused(tmp_path: Path) -> None:
    write_games(tmp_path, "train")
    file = write_game(tmp_path, "train", PEN.name, "trial_2")
    file.write_text(file.read_text().replace("move {o} to {r}", "put {o} in/on {r}"))
    with pytest.raises(WorldError, match=r"which says 'put \{o\} in/on \{r\}' for 'move \{o\} to \{r\}'"):
        Alfworld(AlfworldOptions(data=str(tmp_path))).tasks("train")


def answered(pool: WorkerPool) -> Reply:
    return next(reply for _ in range(60) for reply in pool.poll(1.0))


def hang(env: AlfworldEnv) -> None:
    time.sleep(60)


def test_a_worker_that_hangs_is_replaced(world: Alfworld) -> None:
    with WorkerPool(world, workers=1, simulators_per_worker=2, max_episode_steps=5, step_timeout_seconds=4) as pool:
        with pytest.raises(WorkerLost, match="no answer within 4 s"):
            pool.run(hang)
        slot = pool.acquire()
        assert slot is not None
        pool.reset(slot, PEN, 0)
        assert answered(pool).result[1]["instruction"] == "put some pen on sidetable"


def unmodified(files: list[Path], connection: Connection) -> None:
    """Send the states of each game from the unmodified package, in a process of its own."""
    from alfworld.agents.environment.alfred_tw_env import AlfredDemangler
    from textworld import EnvInfos
    from textworld.envs.pddl import PddlEnv

    connection.send(played(AlfredDemangler(PddlEnv(EnvInfos(won=True, facts=True))), files))


def accelerated(files: list[Path], connection: Connection) -> None:
    """Send the same from the environment's accelerated game."""
    connection.send(played(Alfworld().open().env()._game, files))


def played(game: object, files: list[Path]) -> list[list[object]]:
    games: list[list[object]] = []
    for file in files:
        game.load(str(file))  # type: ignore[attr-defined]
        state = game.reset()  # type: ignore[attr-defined]
        states: list[object] = []
        actions = [*json.loads(file.read_text())["walkthrough"], "look", "inventory", "help", "fly away"]
        for action in ["inventory", *actions]:
            states.append(
                (state.feedback, state["won"], sorted(map(str, state["facts"])), state["admissible_commands"])
            )
            state, _, _ = game.step(action)  # type: ignore[attr-defined]
        games.append(states)
    return games


def both_ways(files: list[Path]) -> tuple[list[list[object]], list[list[object]]]:
    context = multiprocessing.get_context("spawn")
    answers = []
    for function in (unmodified, accelerated):
        ours, theirs = context.Pipe()
        process = context.Process(target=function, args=(files, theirs))
        process.start()
        theirs.close()
        answers.append(ours.recv())
        process.join()
    return answers[0], answers[1]


def test_written_games_equal_those_of_the_unmodified_package(data: Path) -> None:
    files = find_games(data, "train").files
    slow, fast = both_ways([*files["pick_and_place_simple"], *files["look_at_obj_in_light"]])
    assert slow == fast
    assert all(len(states) == 5 for states in slow)


BENCHMARK = data_folder()
needs_games = pytest.mark.skipif(
    not (BENCHMARK / "json_2.1.1" / "valid_seen").is_dir(),
    reason=f"needs ALFWorld's games under {BENCHMARK} (alfworld-download, or ALFWORLD_DATA)",
)


@needs_games
def test_twenty_benchmark_games_equal_those_of_the_unmodified_package() -> None:
    files = [file for found in find_games(BENCHMARK, "seen").files.values() for file in found]
    slow, fast = both_ways(files[:: len(files) // 20][:20])
    assert len(slow) == 20
    assert slow == fast


def memory_megabytes() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def test_facts_of_old_games_are_freed(world: Alfworld, env: AlfworldEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    from mementos import core

    first = env.reset(PEN)
    monkeypatch.setattr(alfworld_speed, "INSTANCES", len(core._memento_cache) - 1)
    other = world.open().env()
    under_way = other.reset(PEN)[0]
    assert under_way == first[0]
    env.reset(Task("alfworld", "look_at_obj_in_light", 0, "seen"))  # another game: old facts are freed
    assert len(core._memento_cache) < alfworld_speed.INSTANCES
    for action in ("go to desk 1", "open drawer 1", "take pen 1 from drawer 1", "go to sidetable 1"):
        assert other.step(action)[4]["is_valid_action"]
    assert other.step("move pen 1 to sidetable 1")[4]["success"]


def test_memory_does_not_grow_over_games(world: Alfworld, env: AlfworldEnv) -> None:
    tasks = world.tasks("train")
    for round_number in range(4):
        for task in tasks:
            env.reset(task)
            env.step("go to desk 1")
        if round_number == 1:
            before = memory_megabytes()
    assert memory_megabytes() - before < 20
