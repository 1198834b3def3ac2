"""How ScienceWorld is done: subtasks, local progress and actions by rules, without a language model."""

from step_hrl.experts.scienceworld.achievement import achieved
from step_hrl.experts.scienceworld.demonstrate import demonstrate

__all__ = ["achieved", "demonstrate"]
