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


def test_a_screen_is_taken_apart() -> None:
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


def test_names_that_lie_around_twice_are_told_apart_by_their_contents() -> None:
    scene = screen.read(KITCHEN)
    full = next(thing for thing in scene.seen() if thing.name == "glass cup" and thing.contents)
    assert scene.call(full) == "glass cup containing apple juice"
    assert scene.call(screen.Thing("bowl", contents=(screen.Thing("banana"),))) == "bowl"


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_text_can_be_read_as_a_screen(look: str, inventory: str) -> None:
    scene = screen.read(Observation("", look, inventory))
    assert all(thing.name for thing in scene.everything())


@given(st.sampled_from(sorted(subtasks.SENTENCES)), st.sampled_from(["chair", "red light bulb", "unknown substance B"]))
def test_every_sentence_is_read_back(kind: str, word: str) -> None:
    names = subtasks.read(subtasks.SENTENCES[kind]).words
    said = subtasks.say(kind, **dict.fromkeys(names, word))
    assert subtasks.read(said) == (kind, dict.fromkeys(names, word))


def test_what_is_no_sentence_is_of_another_kind() -> None:
    assert subtasks.read("dance") == (subtasks.OTHER, {})


@given(st.dictionaries(st.sampled_from(["visited", "holding", "waited", "asked"]), st.text(max_size=300), max_size=4))
def test_facts_survive_their_text(known: dict[str, str]) -> None:
    cleaned = {key: facts.clean(value) for key, value in known.items()}
    assert facts.parse(facts.render(cleaned)) == cleaned or len(facts.render(cleaned)) == facts.CHARACTERS


@given(st.text(max_size=900))
def test_any_text_can_be_read_as_facts_and_stays_what_it_became(text: str) -> None:
    told = facts.render(facts.parse(text))
    assert len(told) <= facts.CHARACTERS
    assert facts.render(facts.parse(told)) == told


def test_long_lists_forget_their_oldest_items() -> None:
    known: facts.Facts = {}
    for index in range(100):
        facts.add(known, "visited", f"room {index}")
    assert len(known["visited"]) <= facts.VALUE_CHARACTERS
    assert facts.items(known, "visited")[-1] == "room 99"


def test_every_room_leads_to_every_other() -> None:
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
