"""The expert of ALFWorld: looks for things where such things mostly are.

The games come with solutions, but those know where everything is: imitating them teaches no search. This expert knows
what it has been shown, and in which kinds of furniture the train games keep a thing (``places.json``).
"""

from step_hrl.experts.alfworld.roles import EXPERT

__all__ = ["EXPERT"]
