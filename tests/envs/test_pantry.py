from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from step_hrl.envs.pantry import NOTHING_HAPPENS, PantryWorld, instruction, score
from step_hrl.envs.pantry_home import Home
from step_hrl.envs.pantry_houses import (
    CONTAINERS,
    OBJECTS,
    ROOMS,
    SURFACES,
    TASK_NAMES,
    VARIATIONS,
    Goal,
    House,
    fingerprint,
    game,
)
from step_hrl.errors import WorldError
from step_hrl.types import Task

WORLD = PantryWorld()
TASKS = [task for split in VARIATIONS for task in WORLD.tasks(split)]
WORDS = [*CONTAINERS, *SURFACES, *OBJECTS, "lamp", "sink", *ROOMS, "in", "on", "from", "the"]
VERBS = ["go to", "open", "close", "take", "put", "clean", "turn on", "turn off", "examine", "look", "inventory"]

actions = st.one_of(
    st.text(max_size=30),
    st.lists(st.sampled_from(VERBS + WORDS), max_size=5).map(" ".join),
)


def small_home() -> Home:
    house = House(
        doors={"hall": ("study",), "study": ("hall",)},
        furniture={"hall": ("chest", "table", "sink"), "study": ("shelf", "lamp")},
        objects={"key": "chest", "mug": "table", "book": "shelf"},
    )
    return Home(house, "hall")


def play(task: Task, taken: list[str], seed: int = 0) -> list[Any]:
    env = WORLD.open().env()
    return [env.reset(task, seed=seed), *(env.step(action) for action in taken)]


def test_splits_have_every_task_and_share_no_variation() -> None:
    assert {split: len(WORLD.tasks(split)) for split in VARIATIONS} == {"train": 800, "seen": 80, "unseen": 400}
    assert len({task.key for task in TASKS}) == 1280
    assert [task.variation for task in WORLD.tasks("seen", ["put-two"], 3)] == [200, 210, 219]


def test_seen_has_new_goals_in_known_houses_and_unseen_has_new_houses() -> None:
    for name in TASK_NAMES:
        games = {split: [game(name, variation) for variation in variations] for split, variations in VARIATIONS.items()}
        train = {id(known.house): known.goal for known in games["train"]}
        assert len(train) == 200
        assert all(train[id(new.house)] != new.goal for new in games["seen"])
        assert all(new.house not in [known.house for known in games["train"]] for new in games["unseen"])


def test_the_houses_have_the_pinned_fingerprint() -> None:
    assert WORLD.provenance("train") == {"world": "pantry", "pantry_layouts": fingerprint()}
    assert fingerprint() == "229086ec728511ea"


def test_every_house_is_connected_and_no_goal_is_reached_at_the_start() -> None:
    for task in TASKS:
        played = game(task.name, task.variation)
        reached, waiting = set[str](), [played.start]
        while waiting:
            room = waiting.pop()
            reached.add(room)
            waiting += [door for door in played.house.doors[room] if door not in reached]
        assert reached == set(ROOMS) == set(played.house.furniture)
        assert score(task.name, played.goal, Home(played.house, played.start)) == 0.0


def test_look_describes_containers_objects_and_doors() -> None:
    home = small_home()
    assert home.look() == "hall. Here: Table, Sink. Closed: [chest]. Seen: Mug. Doors: study."
    assert home.act("Open the  chest") == "You open the chest."
    assert home.act("take mug") == "You take the mug from the table."
    assert home.look() == "hall. Here: Chest, Table, Sink. Seen: Key. Doors: study."
    assert home.act("clean mug") == "You clean the mug in the sink."
    assert home.act("inventory") == "You carry clean mug."
    assert home.act("close chest") == "You close the chest."
    assert home.act("go to study") == "You leave the hall."
    assert home.act("examine mug") == "It is too dark to examine the mug."
    assert home.act("turn on lamp") == "You turn on the lamp."
    assert home.act("examine mug") == "You examine the mug under the lamp."
    assert home.act("put mug on shelf") == "You put the mug on the shelf."
    assert home.act("look") == "study. Here: Shelf, lit lamp. Seen: Book, Mug. Doors: hall."


@pytest.mark.parametrize(
    "action",
    [
        "",
        "dance",
        "look at mug",
        "inventory now",
        "go to",
        "go to kitchen",
        "go to hall",
        "open table",
        "open shelf",
        "close chest",
        "take key",
        "take book",
        "take mug from chest",
        "takemug",
        "put mug on table",
        "put mug",
        "clean mug",
        "turn on lamp",
        "examine mug",
    ],
)
def test_an_invalid_action_changes_nothing(action: str) -> None:
    home = small_home()
    before = home.look()
    assert home.act(action) is None
    assert (home.look(), home.inventory()) == (before, "nothing")


def test_only_one_object_can_be_carried() -> None:
    home = small_home()
    home.act("open chest")
    home.act("take mug from table")
    assert home.act("take key from chest") is None
    assert home.inventory() == "mug"


@pytest.mark.parametrize(
    ("task", "objects", "place", "script", "scores"),
    [
        ("put-one", "mug", "shelf", "take mug; go to study; put mug on shelf", [0.5, 0.5, 1]),
        ("put-one", "mug", "shelf", "go to study; take book; go to hall", [0, 0, 0]),
        ("put-two", "mug key", "shelf", "take mug; go to study; put mug on shelf; take mug", [0.25, 0.25, 0.5, 0.25]),
        ("clean-then-put", "mug", "chest", "open chest; take mug; put mug in chest", [0, 0.25, 0.25]),
        ("clean-then-put", "mug", "chest", "open chest; take mug; clean mug; put mug in chest", [0, 0.25, 0.5, 1]),
        ("examine-in-light", "book", None, "go to study; take book; examine book; turn on lamp", [0, 0.5, 0.5, 0.5]),
        ("examine-in-light", "book", None, "go to study; turn on lamp; take book; examine book", [0, 0, 0.5, 1]),
    ],
)
def test_the_score_follows_the_sub_goals(
    task: str, objects: str, place: str | None, script: str, scores: list[float]
) -> None:
    goal = Goal(tuple(objects.split()), place)
    home = small_home()
    reached: list[float] = []
    for action in script.split("; "):
        assert home.act(action)
        reached.append(score(task, goal, home))
    assert reached == scores


def test_each_goal_has_an_instruction() -> None:
    assert instruction("put-one", Goal(("apple",), "fridge")) == "put apple in fridge"
    assert instruction("put-two", Goal(("mug", "key"), "table")) == "put mug and key on table"
    assert instruction("clean-then-put", Goal(("mug",), "shelf")) == "put clean mug on shelf"
    assert instruction("examine-in-light", Goal(("book",), None)) == "examine book under lamp"


def test_an_unknown_action_is_reported_as_invalid() -> None:
    env = WORLD.open().env()
    start, info = env.reset(TASKS[0])
    assert set(info) == {"instruction"}
    observation, reward, terminated, truncated, info = env.step("sing a song")
    assert observation.text == NOTHING_HAPPENS
    assert (observation.look, observation.inventory) == (start.look, start.inventory)
    assert (reward, terminated, truncated) == (0.0, False, False)
    assert info == {"score": 0.0, "success": False, "is_valid_action": False}


@pytest.mark.parametrize(
    ("call", "remedy"),
    [
        (lambda: WORLD.tasks("sen"), "did you mean seen?"),
        (lambda: WORLD.tasks("train", ["put-too"]), "did you mean put-two?"),
        (lambda: WORLD.open().env().reset(Task("pantry", "put-on", 0, "train")), "did you mean put-one?"),
        (lambda: WORLD.open().env().reset(Task("pantry", "put-one", 320, "unseen")), "choose 0 to 319"),
        (lambda: WORLD.open().env().step("look"), "call reset"),
    ],
)
def test_bad_requests_name_the_remedy(call: Any, remedy: str) -> None:
    with pytest.raises(WorldError) as caught:
        call()
    assert remedy in caught.value.remedy


def test_the_world_can_be_pickled() -> None:
    assert pickle.loads(pickle.dumps(WORLD)) == WORLD


@settings(max_examples=60, deadline=None)
@given(task=st.sampled_from(TASKS), taken=st.lists(actions, max_size=25), seeds=st.tuples(st.integers(), st.integers()))
def test_any_episode_satisfies_the_environment_contract(task: Task, taken: list[str], seeds: tuple[int, int]) -> None:
    played = play(task, taken, seeds[0])
    assert played == play(task, taken, seeds[1])
    total = 0.0
    for observation, reward, terminated, truncated, info in played[1:]:
        total += reward
        assert total == info["score"]
        assert 0.0 <= info["score"] <= 1.0
        assert terminated == info["success"] == (info["score"] == 1.0)
        assert not truncated
        assert observation.text
        assert (observation.text == NOTHING_HAPPENS) == (not info["is_valid_action"])
