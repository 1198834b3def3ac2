"""Agents by what a recipe calls them."""

from __future__ import annotations

from step_hrl.agents.base import Agent
from step_hrl.agents.flat import FlatAgent
from step_hrl.agents.history_hrl import HistoryHrlAgent
from step_hrl.agents.step_hrl import StepHrlAgent
from step_hrl.config import AgentConfig
from step_hrl.roles.history import Bounds


def agent_for(config: AgentConfig) -> Agent:
    """The agent a recipe describes."""
    bounds = Bounds(config.history_characters, config.history_steps)
    if config.kind in ("flat", "react"):
        thinks = config.instructions if config.kind == "react" else None
        return FlatAgent(bounds, unreadable_action=config.unreadable_action, thinks=thinks)
    if config.kind == "history_hrl":
        return HistoryHrlAgent(
            bounds,
            unreadable_action=config.unreadable_action,
            refused_claims_count=config.refused_claims_count,
        )
    return StepHrlAgent(
        unreadable_action=config.unreadable_action,
        refused_claims_count=config.refused_claims_count,
        hierarchy=config.hierarchy,
        local_progress=config.local_progress,
    )
