"""The mechanics of ``pantry``: a house whose state changes with actions, described in short sentences."""

from __future__ import annotations

import re
from collections.abc import Callable

from step_hrl.envs.pantry_houses import CONTAINERS, SURFACES, House

_ARTICLES = re.compile(r"\b(?:the|an|a) ")


class Home:
    """State of a house. The player sees only its current room and carries one object at a time.

    ``objects`` maps each object to the furniture it is in or on, except the ``carried`` one. ``taken``, ``clean`` and
    ``examined`` (under a lamp) are the sets of objects that have been taken, cleaned and examined.
    """

    def __init__(self, house: House, start: str) -> None:
        self.room = start
        self.objects = dict(house.objects)
        self.carried: str | None = None
        self.taken: set[str] = set()
        self.clean: set[str] = set()
        self.examined: set[str] = set()
        self._house = house
        self._open: set[str] = set()
        self._lamp_on = False
        self._verbs: dict[str, Callable[[str], str | None]] = {
            "look": lambda rest: None if rest else self.look(),
            "inventory": lambda rest: None if rest else f"You carry {self.inventory()}.",
            "go to": self._go,
            "open": self._open_container,
            "close": self._close_container,
            "take": self._take,
            "put": self._put,
            "clean": self._wash,
            "turn on": lambda rest: self._switch(rest, on=True),
            "turn off": lambda rest: self._switch(rest, on=False),
            "examine": self._examine,
        }

    def act(self, action: str) -> str | None:
        """Execute an action and return the answer; None, without effect, where it is unknown or impossible."""
        words = _ARTICLES.sub("", " ".join(action.lower().split()))
        for verb, do in self._verbs.items():
            if words == verb or words.startswith(verb + " "):
                return do(words[len(verb) :].strip())
        return None

    def look(self) -> str:
        """Describe the room: ``hall. Here: Table, Sink. Closed: [chest]. Seen: Key, Mug. Doors: study, kitchen.``

        The format is easy to learn for a small model: each kind of thing has its own list and its own spelling, so
        that a visible key differs from a key that is only mentioned. Empty lists are omitted. The furniture that holds
        an object is not described, because no action depends on it.
        """
        closed = [piece for piece in self._here if piece in CONTAINERS and piece not in self._open]
        lists = {
            "Here": [self._named(piece) for piece in self._here if piece not in closed],
            "Closed": [f"[{piece}]" for piece in closed],
            "Seen": [thing.title() for thing, place in self.objects.items() if self._within_reach(place)],
            "Doors": self._house.doors[self.room],
        }
        return ". ".join([self.room, *(f"{name}: {', '.join(items)}" for name, items in lists.items() if items)]) + "."

    def inventory(self) -> str:
        """The carried object: ``apple``, ``clean apple`` or ``nothing``."""
        if self.carried is None:
            return "nothing"
        return f"clean {self.carried}" if self.carried in self.clean else self.carried

    @property
    def _here(self) -> tuple[str, ...]:
        return self._house.furniture[self.room]

    def _named(self, piece: str) -> str:
        return "lit lamp" if piece == "lamp" and self._lamp_on else piece.title()

    def _within_reach(self, piece: str) -> bool:
        return piece in self._here and (piece in SURFACES or piece in self._open)

    def _go(self, room: str) -> str | None:
        if room not in self._house.doors[self.room]:
            return None
        left, self.room = self.room, room
        return f"You leave the {left}."

    def _open_container(self, piece: str) -> str | None:
        if piece not in CONTAINERS or piece not in self._here or piece in self._open:
            return None
        self._open.add(piece)
        return f"You open the {piece}."

    def _close_container(self, piece: str) -> str | None:
        if piece not in self._here or piece not in self._open:
            return None
        self._open.remove(piece)
        return f"You close the {piece}."

    def _take(self, rest: str) -> str | None:
        thing, _, source = rest.partition(" from ")
        place = self.objects.get(thing)
        if self.carried is not None or place is None or not self._within_reach(place) or source not in ("", place):
            return None
        del self.objects[thing]
        self.carried = thing
        self.taken.add(thing)
        return f"You take the {thing} from the {place}."

    def _put(self, rest: str) -> str | None:
        match = re.fullmatch(r"(\w+) (?:in|on) (\w+)", rest)
        if match is None or match[1] != self.carried or not self._within_reach(match[2]):
            return None
        self.carried = None
        self.objects[match[1]] = match[2]
        return f"You put the {match[1]} {preposition(match[2])} the {match[2]}."

    def _wash(self, thing: str) -> str | None:
        if thing != self.carried or "sink" not in self._here:
            return None
        self.clean.add(thing)
        return f"You clean the {thing} in the sink."

    def _switch(self, thing: str, *, on: bool) -> str | None:
        if thing != "lamp" or "lamp" not in self._here or self._lamp_on is on:
            return None
        self._lamp_on = on
        return f"You turn {'on' if on else 'off'} the lamp."

    def _examine(self, thing: str) -> str | None:
        if thing != self.carried:
            return None
        if "lamp" not in self._here or not self._lamp_on:
            return f"It is too dark to examine the {thing}."
        self.examined.add(thing)
        return f"You examine the {thing} under the lamp."


def preposition(piece: str) -> str:
    """``in`` for furniture that opens, else ``on``."""
    return "in" if piece in CONTAINERS else "on"
