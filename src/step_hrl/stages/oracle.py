"""The world's expert in some roles of a policy's episodes: shows which role loses the points."""

from __future__ import annotations

from collections.abc import Sequence

from step_hrl.agents.registry import named_roles, reads_transcript, replies_for
from step_hrl.engines.base import Engine
from step_hrl.engines.shared import SharedEngine
from step_hrl.errors import RecipeError
from step_hrl.experts.base import expert_for
from step_hrl.stages.base import RunContext
from step_hrl.types import Ask, Role, Utterance

EACH = "each"
"""Stands for no role and then every role alone."""


def with_oracle(context: RunContext, engine: Engine, roles: Sequence[Role]) -> Engine:
    """An engine in which the world's expert answers for some roles, and the engine where the expert knows no answer."""
    expert = expert_for(context.world.name)

    def answer(ask: Ask) -> Utterance | None:
        return expert.answer(ask) if ask.role in roles else None

    return SharedEngine(answer, engine, {"oracle": oracle_label(roles), "expert": expert.name})


def oracle_label(roles: Sequence[Role]) -> str:
    """Roles in a fixed order.

    >>> oracle_label([Role.LOW, Role.HIGH])
    'high+low'
    """
    return "+".join(role.value for role in Role if role in roles)


def oracle_groups(context: RunContext, names: Sequence[str]) -> list[tuple[Role, ...]]:
    """The groups of roles to evaluate with an expert in: the named ones, or with ``each`` none and every role alone.

    Raises the errors of :func:`oracle_roles`.
    """
    if list(names) != [EACH]:
        return [oracle_roles(context, names)]
    asked = [role.value for role in Role if role in replies_for(context.recipe.agent)]
    return [(), *(oracle_roles(context, [name]) for name in asked)]


def oracle_roles(context: RunContext, names: Sequence[str]) -> tuple[Role, ...]:
    """The named roles, for an expert to take.

    Raises :class:`~step_hrl.errors.RecipeError` for a role that the agent does not ask, or an agent whose low level
    reads a transcript, :class:`~step_hrl.errors.WorldError` for a world without an expert.
    """
    if not names:
        return ()
    expert_for(context.world.name)
    roles = named_roles(context.recipe.agent, names, "--oracle")
    if reads_transcript(context.recipe.agent) and Role.LOW in roles:
        got = f"the low level of {context.agent.name} reads a transcript, which no expert does"
        raise RecipeError("--oracle low", got, "choose another role, or agent.type=step_hrl")
    return roles
