"""The expert of ScienceWorld: subtasks, actions and local progress by rules, without a language model."""

from step_hrl.experts.scienceworld.rules import EXPERT

__all__ = ["EXPERT"]
