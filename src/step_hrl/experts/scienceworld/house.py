"""ScienceWorld's house: ten rooms, connected in the same way in every variation, and shortest paths between them."""

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
"""Doors of each room. The order breaks ties between shortest paths."""


@cache
def next_room(room: str, goal: str) -> str | None:
    """The next room on the shortest path from ``room`` to ``goal``; None where there is no path or none is needed.

    >>> next_room("hallway", "outside")
    'kitchen'
    """
    if room == goal or room not in NEIGHBOURS:
        return None
    first: dict[str, str] = {neighbor: neighbor for neighbor in NEIGHBOURS[room]}
    queue = deque(NEIGHBOURS[room])
    while queue:
        here = queue.popleft()
        if here == goal:
            return first[here]
        for neighbor in NEIGHBOURS[here]:
            if neighbor != room and neighbor not in first:
                first[neighbor] = first[here]
                queue.append(neighbor)
    return None
