"""What an expert hands over, and the registry of experts: one a world, found by the world's name."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

from step_hrl.data.transitions import SubtaskVerifier, trust_policy
from step_hrl.envs.base import TextEnv
from step_hrl.errors import WorldError, did_you_mean
from step_hrl.types import Episode, Segment, Task


@dataclass(frozen=True)
class Demonstration:
    """One task solved by an expert, told in the words of the three roles.

    ``subtask_kinds`` names the kind of each segment's subtask, in order (such as ``find``), to count what an expert
    covers. ``raw_actions`` and ``raw_score`` (in [0, 1]) are those of the solution the expert started from, before it
    was cleaned; where there was none, they are the episode's own.
    """

    episode: Episode
    subtask_kinds: tuple[str, ...]
    raw_actions: int
    raw_score: float


class Expert(Protocol):
    """Shows how a task is done, subtask by subtask."""

    def __call__(
        self,
        env: TextEnv,
        task: Task,
        *,
        max_episode_steps: int,
        seed: int = 0,
        perturbed: float = 0.0,
        repeat: int = 0,
    ) -> Demonstration:
        """Solve the task in ``env``, which it resets itself, in at most ``max_episode_steps`` actions.

        ``perturbed`` is the share of actions replaced by mistakes (marked as such, never to be cloned), drawn from
        task, seed and ``repeat``.

        Raises :class:`~step_hrl.errors.WorldError` where the task does not exist.
        """
        ...


_EXPERTS = {name: f"step_hrl.experts.{name}" for name in ("alfworld", "pantry", "scienceworld")}


def expert_for(world_name: str) -> Expert:
    """The expert of a world: the function ``demonstrate`` of its module, which is imported only now.

    Raises :class:`~step_hrl.errors.WorldError` for a world that has none.
    """
    if world_name not in _EXPERTS:
        raise WorldError("experts", f"no expert for world {world_name!r}", did_you_mean(world_name, _EXPERTS))
    demonstrate: Callable[..., Demonstration] = import_module(_EXPERTS[world_name]).demonstrate
    return demonstrate


def things_of(world_name: str) -> Collection[str]:
    """The words that name a world's things (``THINGS`` of its expert's module), which may be called otherwise.

    Raises :class:`~step_hrl.errors.WorldError` where the expert needs to know them by their names.
    """
    expert_for(world_name)
    things: Collection[str] | None = getattr(import_module(_EXPERTS[world_name]), "THINGS", None)
    if things is None:
        raise WorldError("experts", f"{world_name}'s needs things by their names", "leave demonstrations.renamed at 0")
    return things


def verifier_for(world_name: str) -> SubtaskVerifier:
    """Whether a subtask that is said to be complete was really achieved, where that can be told.

    One that cost score was not. Then it is what the world's texts tell an expert that knows
    them (the function ``achieved`` of its module), then whether the score rose. Where nothing tells, the claim counts.
    """
    told: Callable[[Segment], bool | None] = (
        import_module(_EXPERTS[world_name]).achieved if world_name in _EXPERTS else lambda _: None
    )

    def verifier(segment: Segment) -> bool:
        if segment.reward < 0:
            return False
        seen = told(segment)
        return seen if seen is not None else segment.reward > 0 or trust_policy(segment)

    return verifier
