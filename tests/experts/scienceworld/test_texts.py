from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from step_hrl.experts.scienceworld import facts, house, knowledge, screen, subtasks
from step_hrl.types import Observation

KITCHEN = Observation(
    "",
    "kitchen: chair, counter [bowl [red apple, banana], drawer], fridge open [glass cup [apple juice]], "
    "oven off closed, table [glass cup], thermometer 10C | Doors: bathroom closed, hallway open",
    "orange, seed jar [apple seed x5], flower pot 2 [pea plant in the adult stage with a tall height, soil]",
)


def test_a_screen_is_parsed() -> None:
    scene = screen.read(KITCHEN)
    assert scene.room == "kitchen"
    assert scene.doors == {"bathroom": False, "hallway": True}
    assert [thing.name for thing in scene.things] == ["chair", "counter", "fridge", "oven", "table", "thermometer"]
    oven = scene.find("oven")
    assert oven is not None
    assert oven.states == ("off", "closed")
    assert scene.find("apple") == screen.Thing("red apple")
    assert scene.find("pea plant") == screen.Thing("pea plant", stage="adult")
    assert scene.alike("apple seed") == 5
    assert scene.alike("pea plant in the adult stage") == 1
    assert scene.holding("seed jar")
    assert not scene.holding("banana")


def test_equal_names_are_distinguished_by_contents() -> None:
    scene = screen.read(KITCHEN)
    full = next(thing for thing in scene.seen() if thing.name == "glass cup" and thing.contents)
    assert scene.call(full) == "glass cup containing apple juice"
    assert scene.call(screen.Thing("bowl", contents=(screen.Thing("banana"),))) == "bowl"


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_text_parses_as_a_screen(look: str, inventory: str) -> None:
    scene = screen.read(Observation("", look, inventory))
    assert all(thing.name for thing in scene.everything())


@given(st.sampled_from(sorted(subtasks.SENTENCES)), st.sampled_from(["chair", "red light bulb", "unknown substance B"]))
def test_subtask_sentences_round_trip(kind: str, word: str) -> None:
    names = subtasks.read(subtasks.SENTENCES[kind]).words
    sentence = subtasks.say(kind, **dict.fromkeys(names, word))
    assert subtasks.read(sentence) == (kind, dict.fromkeys(names, word))


def test_other_text_parses_as_another_kind_of_subtask() -> None:
    assert subtasks.read("dance") == (subtasks.OTHER, {})


@given(st.dictionaries(st.sampled_from(["visited", "holding", "waited", "asked"]), st.text(max_size=300), max_size=4))
def test_facts_round_trip_unless_shortened(known: dict[str, str]) -> None:
    cleaned = {key: facts.clean(value) for key, value in known.items()}
    assert facts.parse(facts.render(cleaned)) == cleaned or len(facts.render(cleaned)) == facts.CHARACTERS


@given(st.text(max_size=900))
def test_parsing_and_rendering_facts_is_idempotent(text: str) -> None:
    rendered = facts.render(facts.parse(text))
    assert len(rendered) <= facts.CHARACTERS
    assert facts.render(facts.parse(rendered)) == rendered


def test_long_lists_drop_their_oldest_items() -> None:
    known: facts.Facts = {}
    for index in range(100):
        facts.add(known, "visited", f"room {index}")
    assert len(known["visited"]) <= facts.VALUE_CHARACTERS
    assert facts.items(known, "visited")[-1] == "room 99"


def test_every_room_is_reachable_from_every_other() -> None:
    for room in house.NEIGHBOURS:
        for goal in house.NEIGHBOURS:
            here, steps = room, 0
            while here != goal:
                here = house.next_room(here, goal) or ""
                steps += 1
                assert here in house.NEIGHBOURS
                assert steps <= 4
    assert house.next_room("cellar", "kitchen") is None


def test_doors_open_both_ways() -> None:
    for room, neighbours in house.NEIGHBOURS.items():
        assert all(room in house.NEIGHBOURS[neighbour] for neighbour in neighbours)


def test_substances_are_known_in_every_state() -> None:
    assert knowledge.phase("ice") == knowledge.phase("chocolate") == knowledge.phase("solid apple juice") == "solid"
    assert knowledge.phase("water") == knowledge.phase("liquid lead") == knowledge.phase("blue paint") == "liquid"
    assert knowledge.phase("steam") == knowledge.phase("gaseous orange juice") == "gas"
    assert knowledge.is_substance("liquid chocolate", "chocolate")
    assert not knowledge.is_substance("tin cup", "tin")
    assert knowledge.animal("dead turtle") is None
