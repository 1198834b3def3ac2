"""What both training stages do: split episodes, note what a policy is trained on, keep its card up to date."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from step_hrl.config import TrainingConfig
from step_hrl.data.transitions import SubtaskVerifier, trust_policy
from step_hrl.report import model_card_files
from step_hrl.stages.base import RunContext
from step_hrl.training import trackers
from step_hrl.types import Episode, Transition

_ACTING = {"unreadable_action", "complete_on_invalid_action", "instructions"}
"""Settings of an agent that change how it acts, not which prompts it is trained on."""


def training_inputs(context: RunContext, config: TrainingConfig) -> dict[str, Any]:
    """What decides a training stage's result beside data and first weights. Trackers do not."""
    return {
        "settings": {**config.model_dump(mode="json"), "trackers": []},
        "reads": context.recipe.agent.model_dump(mode="json", exclude=_ACTING),
        "seed": context.recipe.seed,
    }


def check_trackers(context: RunContext) -> None:
    """Raise :class:`~step_hrl.errors.RecipeError` for a tracker that is not installed, before any stage trains."""
    for config in (context.recipe.behavior_cloning, context.recipe.offline_rl):
        trackers.chosen(config.trackers if config is not None else ())


def split(
    context: RunContext,
    episodes: Sequence[Episode],
    apart: Sequence[Episode],
    fraction: float,
    verifier: SubtaskVerifier = trust_policy,
) -> tuple[list[Transition], list[Transition]]:
    """Training and validation transitions; whole episodes are held out, spread evenly, at least one of many.

    The episodes ``apart`` are for validation only.
    """
    every = max(2, round(1 / fraction)) if fraction > 0 else 0
    train: list[Transition] = []
    validation: list[Transition] = []
    for number, episode in enumerate(episodes):
        chosen = validation if every and number % every == every - 1 else train
        chosen.extend(context.agent.transitions(episode, verifier))
    for episode in apart:
        validation.extend(context.agent.transitions(episode, verifier))
    return train, validation


def note(
    context: RunContext,
    folder: Path,
    number: int,
    demonstrations: Sequence[Episode],
    collected: Sequence[Episode],
    train: Sequence[Transition],
    validation: Sequence[Transition],
) -> None:
    """Write down what a policy is about to be trained on; its card is made from it.

    Args:
        context: Of the run.
        folder: The stage's.
        number: 0 for stage 1, else the round of stage 2.
        demonstrations: The expert's episodes.
        collected: The policy's own.
        train: What is learned from.
        validation: What is only measured.
    """
    recipe = context.recipe
    versions = {"step_hrl": version("step-hrl"), **context.world.provenance(recipe.demonstrations.split)}
    training = model_card_files.training_of(recipe, number, demonstrations, collected, train, validation, versions)
    model_card_files.note(folder, training)


def describe(context: RunContext, policy: Path, digest: str | None = None) -> None:
    """Write or refresh the card of a policy of this run; checkpoints and policies from elsewhere have none here."""
    if context.layout.holds(policy):
        known = digest or context.policy_digest(policy)
        model_card_files.describe(policy, known, context.layout.evaluations)


def already_trained(context: RunContext, policy: Path, stage: str) -> bool:
    """Whether a stage has left its policy already; says so, and brings the card up to date."""
    if policy.is_dir():
        context.console.print(f"{stage}: {policy} exists already", markup=False)
        describe(context, policy)
        return True
    return False
