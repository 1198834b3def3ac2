"""The house of ScienceWorld: ten rooms that are joined the same way in every variation, and the way between any two."""

from __future__ import annotations

from collections import deque
from functools import cache

NEIGHBOURS: dict[str, tuple[str, ...]] = {
    "art studio": ("hallway",),
    "bathroom": ("kitchen",),
    "bedroom": ("hallway",),
    "foundry": ("outside",),
    "greenhouse": ("hallway", "outside"),
    "hallway": ("kitchen", "greenhouse", "art studio", "bedroom", "living room", "workshop"),
    "kitchen": ("hallway", "outside", "bathroom"),
    "living room": ("hallway",),
    "outside": ("kitchen", "greenhouse", "foundry"),
    "workshop": ("hallway",),
}
"""Doors of each room. The order settles which of two equally short ways is taken."""


@cache
def next_room(room: str, goal: str) -> str | None:
    """The neighbour of ``room`` on the shortest way to ``goal``; None where there is no way or none is needed.

    >>> next_room("hallway", "outside")
    'kitchen'
    """
    if room == goal or room not in NEIGHBOURS:
        return None
    first: dict[str, str] = {neighbour: neighbour for neighbour in NEIGHBOURS[room]}
    queue = deque(NEIGHBOURS[room])
    while queue:
        here = queue.popleft()
        if here == goal:
            return first[here]
        for neighbour in NEIGHBOURS[here]:
            if neighbour != room and neighbour not in first:
                first[neighbour] = first[here]
                queue.append(neighbour)
    return None
