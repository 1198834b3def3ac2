"""The expert of ALFWorld: searches for objects in their most frequent places first.

The solutions that come with the games use the locations of all objects, so imitating them does not teach to search.
This expert uses only its observations and the kinds of furniture that hold an object in the train games
(``places.json``).
"""

from step_hrl.experts.alfworld.roles import EXPERT

__all__ = ["EXPERT"]
