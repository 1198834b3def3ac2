"""Search for an object: the next place to check, and the progress text of the places checked. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib import resources

from step_hrl.experts.alfworld.subtasks import Find, Look
from step_hrl.experts.alfworld.texts import Surroundings, kind_of
from step_hrl.types import NOTHING

_CHECKED = "checked "


def next_look(wanted: Find | Look, progress: str, view: Surroundings) -> str:
    """The action towards the first place in the order of search that has not been checked.

    Where all have been checked, the search restarts.
    """
    order = _order(wanted, view.room)
    unseen = [place for place in order if place not in view.open_here]
    done = checked(progress)
    new = [place for place in unseen if place not in done]
    place = (new or unseen or order)[0]
    return f"{'open' if place in view.here else 'go to'} {place}"


def noted(progress: str, view: Surroundings) -> str:
    """The progress with the places that are visible now, whatever they hold.

    A policy that tries to take an object that is not there can thus continue with the next place. The list grows until
    it holds all furniture, then it is cleared.
    """
    before = checked(progress)
    if set(view.room) <= set(before):
        before = []
    done = [*before, *(place for place in view.open_here if place not in before)]
    return _CHECKED + ", ".join(done) if done else NOTHING


def checked(progress: str) -> list[str]:
    """The places in a progress text, in the order they were checked.

    >>> checked("checked bed 1, drawer 2")
    ['bed 1', 'drawer 2']
    """
    return progress.removeprefix(_CHECKED).split(", ") if progress.startswith(_CHECKED) else []


@lru_cache(maxsize=1)
def places() -> Mapping[str, Sequence[str]]:
    """The kinds of furniture in the order of search, by kind of object; see ``experiments/alfworld_places.py``."""
    file = resources.files("step_hrl.experts.alfworld").joinpath("places.json")
    return json.loads(file.read_text(encoding="utf-8"))


def _order(wanted: Find | Look, room: Sequence[str]) -> list[str]:
    """All furniture in the order of search, from ``start`` on, because the places before it have been searched."""
    kinds = places().get(wanted.kind if isinstance(wanted, Find) else wanted.lamp, ())
    rank = {kind: position for position, kind in enumerate(kinds)}
    order = sorted(room, key=lambda name: rank.get(kind_of(name), len(rank)))  # stable: ties stay in the room's order
    start = order.index(wanted.start) if isinstance(wanted, Find) and wanted.start in order else 0
    return order[start:] + order[:start]
