"""The expert of ScienceWorld: rules for subtasks, actions and local progress."""

from step_hrl.experts.scienceworld.rules import EXPERT

__all__ = ["EXPERT"]
