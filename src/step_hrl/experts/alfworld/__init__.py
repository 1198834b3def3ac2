"""The expert of ALFWorld: looks for things as a person would, who knows where such things mostly are.

The games come with solutions, but those know where everything is: who imitates them learns no search. This expert
knows what it has been shown, and in which kinds of furniture the train games keep a thing (``places.json``).
"""

from step_hrl.experts.alfworld.roles import achieved, demonstrate
from step_hrl.experts.alfworld.search import places

THINGS = frozenset(places())
"""The words that name things, and may be others: they are looked for where things of that name mostly are."""

__all__ = ["THINGS", "achieved", "demonstrate"]
