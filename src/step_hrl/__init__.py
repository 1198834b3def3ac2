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

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from step_hrl.api import LoadedAgent, load_agent, load_expert, load_recipe, play

__all__ = ["LoadedAgent", "load_agent", "load_expert", "load_recipe", "play"]


def __getattr__(name: str) -> Any:
    # Imported on first use: worker processes import single modules and need nothing of this.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("step_hrl.api"), name)
