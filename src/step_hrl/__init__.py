"""Hierarchical reinforcement learning for language-model agents, one step at a time (STEP-HRL, Zhen et al., ACL 2026).

The Python interface is :func:`load_recipe`, :func:`load_agent`, :func:`load_expert` and :func:`play`; data types are in
``step_hrl.types``. Everything else is reached through the command ``step-hrl``.

>>> import step_hrl
>>> from step_hrl.envs.pantry import PantryWorld
>>> world = PantryWorld()
>>> episode = step_hrl.play(step_hrl.load_expert("pantry"), world.open().env(), world.tasks("seen")[0])
>>> episode.success, len(episode.segments)
(True, 2)
"""

from step_hrl.api import LoadedAgent, load_agent, load_expert, play
from step_hrl.recipes import load_recipe

__all__ = ["LoadedAgent", "load_agent", "load_expert", "load_recipe", "play"]
