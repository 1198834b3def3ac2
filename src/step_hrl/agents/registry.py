"""Agents by what a recipe calls them."""

from __future__ import annotations

from step_hrl.agents.base import Agent
from step_hrl.agents.flat import FlatAgent
from step_hrl.agents.history_hrl import HistoryHrlAgent
from step_hrl.agents.step_hrl import StepHrlAgent
from step_hrl.config import AgentConfig
from step_hrl.engines.person import Reply
from step_hrl.prompts import high_level, local_progress, low_level, react, transcript
from step_hrl.prompts.transcript import Bounds
from step_hrl.types import Role


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
            complete_on_invalid_action=config.complete_on_invalid_action,
        )
    return StepHrlAgent(
        unreadable_action=config.unreadable_action,
        complete_on_invalid_action=config.complete_on_invalid_action,
        hierarchy=config.hierarchy,
        local_progress=config.local_progress,
    )


def replies_for(config: AgentConfig) -> dict[Role, Reply]:
    """The roles that a recipe's agent asks, each with how a person replies for it."""
    if config.kind in ("flat", "react"):
        return {Role.LOW: Reply(react.typed if config.kind == "react" else transcript.parse, "an action")}
    replies = {Role.LOW: Reply(low_level.typed, "an action, with `; True` after it if it completes the subtask")}
    if config.hierarchy:
        replies[Role.HIGH] = Reply(high_level.parse, "a subtask")
    if config.local_progress and config.kind == "step_hrl":
        replies[Role.PROGRESS] = Reply(local_progress.parse, "the new progress")
    return replies
