"""Worlds by name. A world's module is imported when it is first used, since its package may be an optional extra."""

from __future__ import annotations

from importlib import import_module

from step_hrl.config import Section, WorldConfig
from step_hrl.envs.base import World
from step_hrl.errors import RecipeError, WorldError, did_you_mean
from step_hrl.recipes import parse_section

_WORLDS = {
    "alfworld": ("step_hrl.envs.alfworld", "Alfworld", "AlfworldOptions"),
    "pantry": ("step_hrl.envs.pantry", "PantryWorld", None),
    "scienceworld": ("step_hrl.envs.scienceworld", "ScienceWorld", "ScienceWorldOptions"),
}


def world_for(config: WorldConfig) -> World:
    """The world that a recipe names, with its options validated.

    Raises :class:`~step_hrl.errors.WorldError` for an unknown name or task, RecipeError for unknown options.
    """
    if config.name not in _WORLDS:
        raise WorldError(f"world {config.name!r}", "unknown", did_you_mean(config.name, _WORLDS))
    module_name, world_name, options_name = _WORLDS[config.name]
    module = import_module(module_name)
    if options_name is None:
        if config.options:
            raise RecipeError("world.options", f"{config.name} has none, got {sorted(config.options)}", "remove them")
        return getattr(module, world_name)()
    section: type[Section] = getattr(module, options_name)
    return getattr(module, world_name)(parse_section(section, config.options, "world.options"))
