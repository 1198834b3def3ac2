"""Agents by their ``type`` in a recipe."""

from __future__ import annotations

from collections.abc import Sequence

from step_hrl.agents.ablations import NoHierarchyAgent, NoLocalProgressAgent
from step_hrl.agents.base import Agent
from step_hrl.agents.flat import FlatAgent, ReactAgent
from step_hrl.agents.history_hrl import HistoryHrlAgent
from step_hrl.agents.step_hrl import StepHrlAgent
from step_hrl.config import (
    AgentConfig,
    FlatConfig,
    HistoryHrlConfig,
    NoHierarchyConfig,
    NoLocalProgressConfig,
    ReactConfig,
    StepHrlConfig,
)
from step_hrl.engines.person import Reply
from step_hrl.errors import RecipeError, did_you_mean
from step_hrl.prompts import high_level, local_progress, low_level, react, transcript
from step_hrl.prompts.transcript import Bounds
from step_hrl.types import Role


def agent_for(config: AgentConfig) -> Agent:
    """The agent that a recipe describes."""
    unreadable = config.unreadable_action
    match config:
        case StepHrlConfig(complete_on_invalid_action=complete):
            return StepHrlAgent(unreadable_action=unreadable, complete_on_invalid_action=complete)
        case NoHierarchyConfig():
            return NoHierarchyAgent(unreadable_action=unreadable)
        case NoLocalProgressConfig(complete_on_invalid_action=complete):
            return NoLocalProgressAgent(unreadable_action=unreadable, complete_on_invalid_action=complete)
        case HistoryHrlConfig(complete_on_invalid_action=complete):
            return HistoryHrlAgent(_bounds(config), unreadable_action=unreadable, complete_on_invalid_action=complete)
        case FlatConfig():
            return FlatAgent(_bounds(config), unreadable_action=unreadable)
        case ReactConfig(instructions=instructions):
            return ReactAgent(_bounds(config), instructions=instructions, unreadable_action=unreadable)


def replies_for(config: AgentConfig) -> dict[Role, Reply]:
    """The roles that an agent asks, each with how a person replies for it."""
    if isinstance(config, (FlatConfig, ReactConfig)):
        parse = react.typed if isinstance(config, ReactConfig) else transcript.parse
        return {Role.LOW: Reply(parse, "an action")}
    replies = {Role.LOW: Reply(low_level.typed, "an action, with `; True` after it if it completes the subtask")}
    if not isinstance(config, NoHierarchyConfig):
        replies[Role.HIGH] = Reply(high_level.parse, "a subtask")
    if isinstance(config, (StepHrlConfig, NoHierarchyConfig)):
        replies[Role.PROGRESS] = Reply(local_progress.parse, "the new progress")
    return replies


def named_roles(config: AgentConfig, names: Sequence[str], option: str) -> tuple[Role, ...]:
    """The roles of these names, in the order of :class:`~step_hrl.types.Role`.

    Raises :class:`~step_hrl.errors.RecipeError`, which names the command's ``option``, for a role that the agent does
    not ask.
    """
    known = [role.value for role in Role if role in replies_for(config)]
    for name in names:
        if name not in known:
            got = f"the agent {agent_for(config).name} has no such role"
            raise RecipeError(f"{option} {name}", got, did_you_mean(name, known))
    return tuple(role for role in Role if role.value in names)


def reads_transcript(config: AgentConfig) -> bool:
    """Whether the agent's low level reads a transcript instead of one step."""
    return isinstance(config, (FlatConfig, HistoryHrlConfig, ReactConfig))


def _bounds(config: FlatConfig | HistoryHrlConfig | ReactConfig) -> Bounds:
    return Bounds(config.history_characters, config.history_steps)
