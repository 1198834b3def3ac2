"""Small ALFWorld games: one room, one game of each task type, with the installed package's domain and grammar."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from step_hrl.envs.alfworld_games import FOLDERS

INSTRUCTIONS = {
    "pick_and_place_simple": "put some pen on sidetable.",
    "look_at_obj_in_light": "examine the book with the desklamp.",
    "pick_clean_then_place_in_recep": "put a clean mug in cabinet.",
    "pick_heat_then_place_in_recep": "heat some mug and put it in countertop.",
    "pick_cool_then_place_in_recep": "put a cool mug in microwave.",
    "pick_two_obj_and_place": "find two book and put them in sidetable.",
}

_FURNITURE = {
    "Bed_bar_1": ("Bed", 1),
    "Desk_bar_1": ("Desk", 2),
    "Drawer_bar_1": ("Drawer", 2),
    "SideTable_bar_1": ("SideTable", 3),
    "CounterTop_bar_1": ("CounterTop", 4),
    "Sink_bar_1_bar_SinkBasin": ("SinkBasin", 5),
    "Microwave_bar_1": ("Microwave", 6),
    "Fridge_bar_1": ("Fridge", 7),
    "Cabinet_bar_1": ("Cabinet", 8),
    "Cabinet_bar_2": ("Cabinet", 9),
}
"""Receptacle type and location; the drawer can be reached from the desk."""
_CLOSED = ("Drawer", "Microwave", "Fridge", "Cabinet")
_OBJECTS = {
    "Pen": ["Drawer_bar_1"],
    "Book": ["Bed_bar_1", "Desk_bar_1"],
    "Mug": ["Cabinet_bar_2"],
    "DeskLamp": ["SideTable_bar_1"],
    "Apple": ["CounterTop_bar_1"],
}


def problem(goal: str, objects: Mapping[str, list[str]]) -> str:
    """The room with these objects as a PDDL planning problem."""
    named = [(f"{kind}_bar_{n}", kind, place) for kind, places in objects.items() for n, place in enumerate(places, 1)]
    kinds = sorted({kind for kind, _ in _FURNITURE.values()})
    declared = ["agent1 - agent", *(f"loc_bar_{place} - location" for place in range(10))]
    declared += [f"{kind}Type - rtype" for kind in kinds] + [f"{kind}Type - otype" for kind in objects]
    declared += [f"{name} - receptacle" for name in _FURNITURE] + [f"{name} - object" for name, _, _ in named]
    facts = ["(atLocation agent1 loc_bar_0)"]
    for name, (kind, place) in _FURNITURE.items():
        facts += [f"(receptacleType {name} {kind}Type)", f"(receptacleAtLocation {name} loc_bar_{place})"]
        facts += [f"(openable {name})"] if kind in _CLOSED else []
    facts += [
        f"(canContain {kind}Type {thing}Type)"
        for kind in kinds
        for thing in objects
        if (kind, thing) != ("Bed", "Apple")  # the bed cannot hold the apple
    ]
    for name, kind, place in named:
        facts += [f"(objectType {name} {kind}Type)", f"(inReceptacle {name} {place})"]
        facts += [f"(objectAtLocation {name} loc_bar_{_FURNITURE[place][1]})"]
        facts += [f"({able} {name})" for able in ("pickupable", "cleanable", "heatable", "coolable")]
        facts += [f"(toggleable {name})"] if kind == "DeskLamp" else []
    return (
        f"(define (problem room) (:domain alfred)\n(:objects\n{chr(10).join(declared)}\n)\n"
        f"(:init\n{chr(10).join(facts)}\n)\n(:goal {goal}))\n"
    )


def _placed(thing: str, place: str, state: str = "") -> str:
    return (
        f"(and (exists (?r - receptacle) (exists (?o - object) (and (objectType ?o {thing}Type) "
        f"(receptacleType ?r {place}Type) {state} (inReceptacle ?o ?r)))))"
    )


GOALS = {
    "pick_and_place_simple": _placed("Pen", "SideTable"),
    "look_at_obj_in_light": (
        "(and (exists (?ot - object ?r - receptacle ?a - agent ?l - location) (and (objectType ?ot DeskLampType) "
        "(toggleable ?ot) (isToggled ?ot) (receptacleAtLocation ?r ?l) (atLocation ?a ?l) (inReceptacle ?ot ?r))) "
        "(exists (?o - object ?a - agent) (and (objectType ?o BookType) (holds ?a ?o))))"
    ),
    "pick_clean_then_place_in_recep": _placed("Mug", "Cabinet", "(isClean ?o)"),
    "pick_heat_then_place_in_recep": _placed("Mug", "CounterTop", "(isHot ?o)"),
    "pick_cool_then_place_in_recep": _placed("Mug", "Microwave", "(isCool ?o)"),
    "pick_two_obj_and_place": (
        "(and (exists (?r - receptacle) (exists (?o1 - object) (and (objectType ?o1 BookType) "
        "(receptacleType ?r SideTableType) (inReceptacle ?o1 ?r) (exists (?o2 - object) (and (not (= ?o1 ?o2)) "
        "(objectType ?o2 BookType) (inReceptacle ?o2 ?r)))))))"
    ),
}


def write_game(data: Path, split: str, task: str, trial: str = "trial_1", *, solvable: bool = True) -> Path:
    """Write one game to a data folder; return its file."""
    info = pytest.importorskip("alfworld.info", reason="needs the alfworld extra")
    grammar = Path(info.ALFRED_TWL2_PATH).read_text(encoding="utf-8")
    game = {
        "pddl_domain": Path(info.ALFRED_PDDL_PATH).read_text(encoding="utf-8"),
        "grammar": grammar.replace("UNKNOWN GOAL.", INSTRUCTIONS[task]),
        "pddl_problem": problem(GOALS[task], _OBJECTS),
        "solvable": solvable,
        "walkthrough": [],
    }
    file = data / "json_2.1.1" / FOLDERS[split] / f"{task}-Thing-None-Place-1" / trial / "game.tw-pddl"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(game), encoding="utf-8")
    return file


def write_games(data: Path, *splits: str) -> None:
    """Write a game of each task type for each split."""
    for split in splits:
        for task in INSTRUCTIONS:
            write_game(data, split, task)
