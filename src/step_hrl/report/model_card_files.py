"""Writes the model card and the recipe beside a policy's weights."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from math import prod
from pathlib import Path
from typing import Any, cast

from safetensors import safe_open

from step_hrl.config import BehaviorCloningConfig, OfflineRLConfig, Recipe
from step_hrl.data.codec import from_json, to_json
from step_hrl.errors import DataError
from step_hrl.evaluation import read_summary
from step_hrl.models import named
from step_hrl.recipes import to_yaml
from step_hrl.report.model_card import Decision, Outcome, Scored, Training, render
from step_hrl.runs.files import write_atomically, write_if_changed
from step_hrl.runs.layout import METRICS_FILE, RECIPE_FILE, SELECTION_FILE, SUMMARY_FILE, TRAINING_FILE
from step_hrl.runs.timing import seconds
from step_hrl.types import Episode, Transition

CARD_FILE = "README.md"


def training_of(
    recipe: Recipe,
    stage: int,
    demonstrations: Sequence[Episode],
    collected: Sequence[Episode],
    train: Sequence[Transition],
    validation: Sequence[Transition],
    versions: Mapping[str, str],
) -> Training:
    """The record of a training run of stage 1 (``stage`` 0) or of a round of stage 2 (from 1).

    Args:
        recipe: Of the run.
        stage: See :class:`~step_hrl.report.model_card.Training`.
        demonstrations: The demonstrations of the training data.
        collected: The collected episodes of the training data.
        train: Training transitions.
        validation: Validation transitions.
        versions: Of the package and the world.
    """
    config: BehaviorCloningConfig | OfflineRLConfig | None = recipe.offline_rl if stage else recipe.behavior_cloning
    weights = (config or recipe.behavior_cloning).role_weights
    learned = [t for t in train if getattr(weights, t.role.value) > 0 and (stage or t.clone_mask)]
    examples: dict[str, Decision] = {}
    for transition in learned:
        if transition.clone_mask:
            examples.setdefault(transition.role.value, Decision(transition.state, transition.utterance))
    packages = ("torch", "transformers", *(("peft",) if recipe.backbone.lora else ()))
    return Training(
        recipe=recipe.name,
        recipe_yaml=to_yaml(recipe),
        seed=recipe.seed,
        stage=stage,
        world=recipe.world.name,
        tasks=tuple(sorted({episode.task.name for episode in (*demonstrations, *collected)})),
        demonstrations=len(demonstrations),
        demonstrations_split=recipe.demonstrations.split,
        collected=len(collected),
        collected_split=recipe.collection.split,
        validation=len({transition.episode_id for transition in validation}),
        decisions=len(learned),
        tokens=config.tokens if config else None,
        backbone=recipe.backbone.source,
        base_model=_hub_id(recipe.backbone.source),
        adapter=recipe.backbone.lora is not None,
        prompt_format=recipe.backbone.prompt_format,
        agent=recipe.agent.type,
        versions={**versions, **{package: version(package) for package in packages}},
        examples=examples,
    )


def note(folder: Path, training: Training) -> None:
    """Record a training run in its stage's folder."""
    write_atomically(folder / TRAINING_FILE, json.dumps(to_json(training), indent=1, ensure_ascii=False) + "\n")


def describe(policy: Path, digest: str, evaluations: Path) -> None:
    """Write a policy's card and recipe from the records of its stage and its evaluations.

    ``digest`` identifies the policy in the summaries below ``evaluations``. The folder is left unchanged if there is no
    training record of this version: it may not be one of step-hrl.
    """
    try:
        training = _training(policy.parent)
    except (OSError, ValueError, DataError):
        return
    write_card(policy, policy, digest, evaluations)
    write_if_changed(policy / RECIPE_FILE, training.recipe_yaml)


def write_card(folder: Path, policy: Path, digest: str, evaluations: Path) -> None:
    """Write a card into a folder: of a run's policy, or of a copy of it that has a ``digest`` of its own.

    Raises OSError, ValueError or DataError where the run has no training record of this version.
    """
    card = render(_training(policy.parent), _outcome(policy), _scored(digest, evaluations))
    write_if_changed(folder / CARD_FILE, card)


def _training(stage: Path) -> Training:
    return from_json(Training, json.loads((stage / TRAINING_FILE).read_text(encoding="utf-8")))


def _hub_id(source: str) -> str | None:
    """The hub id that a backbone's source is or stands for, if any."""
    is_hub_id = re.fullmatch(r"\w[\w.-]*/[\w.-]+", source) is not None
    return source if is_hub_id and not source.endswith(".gguf") and not Path(source).exists() else named.hub_id(source)


def _outcome(policy: Path) -> Outcome:
    stage = policy.parent
    selection = _json(stage / SELECTION_FILE)
    return Outcome(
        updates=_updates(stage / METRICS_FILE),
        seconds=seconds(stage) or None,
        parameters=_parameters(policy),
        chosen=selection.get("chosen"),
        chosen_on=selection.get("split"),
    )


def _scored(digest: str, evaluations: Path) -> dict[str, Scored]:
    """The policy's latest evaluation on each split."""
    scored: dict[str, Scored] = {}
    files = [file for file in evaluations.glob(f"*/{SUMMARY_FILE}") if ".previous-" not in file.parent.name]
    for file in sorted(files, key=lambda file: file.stat().st_mtime_ns):
        # Damaged summaries are skipped here; readers of the summary itself get the error.
        with suppress(DataError):
            summary, provenance = read_summary(file)
            if provenance.get("policy") == digest:
                scored[provenance.get("split", "?")] = Scored(summary, provenance)
    return dict(sorted(scored.items()))


def _updates(metrics: Path) -> int | None:
    lines = metrics.read_text(encoding="utf-8", errors="replace").splitlines() if metrics.is_file() else []
    for line in reversed(lines):
        with suppress(ValueError, KeyError, TypeError):  # a kill may have truncated the last line
            return int(json.loads(line)["update"])
    return None


def _parameters(policy: Path) -> int | None:
    """Number of weights of the model or the adapters, without the critics."""
    count = 0
    for file in policy.glob("*model*.safetensors"):
        with cast(Any, safe_open)(str(file), "np") as tensors:
            count += sum(prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
    return count or None


def _json(file: Path) -> dict[str, Any]:
    """A JSON object of a file; empty if it cannot be read."""
    with suppress(OSError, ValueError):
        content = json.loads(file.read_text(encoding="utf-8"))
        return cast("dict[str, Any]", content) if isinstance(content, dict) else {}
    return {}
