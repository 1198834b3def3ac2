"""Checkpoints that appear whole or not at all, in Hugging Face form."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import torch

from step_hrl.errors import DataError
from step_hrl.models.backbone import Backbone
from step_hrl.runs.files import written_whole

STATE_FILE = "trainer_state.json"
OPTIMIZERS_FILE = "optimizers.pt"
_CHECKPOINT = "checkpoint"
_STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class TrainerState:
    """Where training stood: updates done of how many, and what run it belongs to.

    ``fingerprint`` digests settings, seed and data. Data order, learning rate and dropout follow from seed and update
    alone, so nothing else is needed to go on exactly.
    """

    update: int
    updates: int
    fingerprint: str


class Weights(Protocol):
    """What is trained; see ``loop.Objective``."""

    backbone: Backbone

    def save(self, folder: Path) -> None:
        """Write all weights."""
        ...

    def restore(self, folder: Path) -> None:
        """Set all weights to those that were written."""
        ...


def save(
    output: Path, weights: Weights, optimizers: Sequence[torch.optim.Optimizer], state: TrainerState, keep: int
) -> Path:
    """Write ``checkpoint-<update>`` and remove all but the newest ``keep``, and where training had stopped before."""
    folder = output / f"checkpoint-{state.update}"
    _write(folder, weights, optimizers, state)
    for old in (*every(output)[:-keep], *_of_kind(output, _STOPPED)):
        shutil.rmtree(old)
    return folder


def save_to_go_on(
    output: Path, weights: Weights, optimizers: Sequence[torch.optim.Optimizer], state: TrainerState
) -> None:
    """Write where training stopped, between checkpoints: to go on from, not to choose a policy from."""
    _write(output / f"{_STOPPED}-{state.update}", weights, optimizers, state)


def latest(output: Path) -> Path | None:
    """The newest place to go on from in a folder, if there is one."""
    return max((*every(output), *_of_kind(output, _STOPPED)), key=_update, default=None)


def every(output: Path) -> list[Path]:
    """The checkpoints in a folder, oldest first."""
    return _of_kind(output, _CHECKPOINT)


def publish(checkpoint: Path, folder: Path) -> None:
    """Make a checkpoint's weights the policy in ``folder``; what only training needs stays behind."""
    with written_whole(folder) as scratch:
        for file in checkpoint.iterdir():
            if file.name not in (OPTIMIZERS_FILE, STATE_FILE):
                shutil.copy2(file, scratch / file.name)


def restore(
    folder: Path, weights: Weights, optimizers: Sequence[torch.optim.Optimizer], fingerprint: str
) -> TrainerState:
    """Set weights and optimizers to a checkpoint.

    Raises :class:`~step_hrl.errors.DataError` for a damaged checkpoint, or one of other settings, seed or data.
    """
    try:
        state = TrainerState(**json.loads((folder / STATE_FILE).read_text()))
        if state.fingerprint != fingerprint:
            remedy = "restore the settings it was begun with, or remove it to start afresh"
            raise DataError(str(folder), "checkpoint of other settings, seed or data", remedy)
        weights.restore(folder)
        device = weights.backbone.device
        saved = torch.load(folder / OPTIMIZERS_FILE, map_location=device, weights_only=True)
    except (OSError, EOFError, ValueError, KeyError, TypeError, RuntimeError, pickle.UnpicklingError) as error:
        raise DataError(
            str(folder), f"damaged checkpoint ({error})", "remove it to go on from the one before"
        ) from error
    for optimizer, optimizer_state in zip(optimizers, saved, strict=True):
        optimizer.load_state_dict(optimizer_state)
    return state


def _write(folder: Path, weights: Weights, optimizers: Sequence[torch.optim.Optimizer], state: TrainerState) -> None:
    with written_whole(folder) as scratch:
        weights.save(scratch)
        torch.save([optimizer.state_dict() for optimizer in optimizers], scratch / OPTIMIZERS_FILE)
        (scratch / STATE_FILE).write_text(json.dumps(asdict(state), indent=1) + "\n")


def _of_kind(output: Path, kind: str) -> list[Path]:
    found = [path for path in output.glob(f"{kind}-*") if path.name.removeprefix(f"{kind}-").isdigit()]
    return sorted(found, key=_update)


def _update(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])
