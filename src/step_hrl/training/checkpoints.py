"""Checkpoints in the Hugging Face format, written atomically."""

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
    """The number of updates done, of how many, and the fingerprint of the run.

    ``fingerprint`` digests settings, seed and data. Data order, learning rate and dropout are functions of seed and
    update, so an exact resume needs no other state.
    """

    update: int
    updates: int
    fingerprint: str


class Weights(Protocol):
    """The module that is trained; see ``loop.Objective``."""

    backbone: Backbone

    def save(self, folder: Path) -> None:
        """Write all weights."""
        ...

    def restore(self, folder: Path) -> None:
        """Load the weights that :meth:`save` wrote."""
        ...


def save(
    output: Path, weights: Weights, optimizers: Sequence[torch.optim.Optimizer], state: TrainerState, keep: int
) -> Path:
    """Write ``checkpoint-<update>``; remove all but the newest ``keep`` checkpoints, and interrupted states."""
    folder = output / f"{_CHECKPOINT}-{state.update}"
    _write(folder, weights, optimizers, state)
    for old in (*every(output)[:-keep], *_list(output, _STOPPED)):
        shutil.rmtree(old)
    return folder


def save_interrupted(
    output: Path, weights: Weights, optimizers: Sequence[torch.optim.Optimizer], state: TrainerState
) -> None:
    """Write the state of an interrupted run between checkpoints: it can be resumed but not selected as a policy."""
    _write(output / f"{_STOPPED}-{state.update}", weights, optimizers, state)


def latest(output: Path) -> Path | None:
    """The newest checkpoint or interrupted state in a folder, None without one."""
    return max((*every(output), *_list(output, _STOPPED)), key=_update, default=None)


def every(output: Path) -> list[Path]:
    """The checkpoints in a folder, oldest first."""
    return _list(output, _CHECKPOINT)


def publish(checkpoint: Path, folder: Path) -> None:
    """Copy a checkpoint to ``folder`` as a policy, without the state of optimizers and trainer."""
    with written_whole(folder) as scratch:
        for file in checkpoint.iterdir():
            if file.name not in (OPTIMIZERS_FILE, STATE_FILE):
                shutil.copy2(file, scratch / file.name)


def restore(
    folder: Path, weights: Weights, optimizers: Sequence[torch.optim.Optimizer], fingerprint: str
) -> TrainerState:
    """Load weights and optimizers from a checkpoint.

    Raises :class:`~step_hrl.errors.DataError` for a damaged checkpoint, or one with other settings, seed or data.
    """
    try:
        state = TrainerState(**json.loads((folder / STATE_FILE).read_text()))
        if state.fingerprint != fingerprint:
            remedy = "restore the settings of its run, or delete it to start again"
            raise DataError(str(folder), "checkpoint with other settings, seed or data", remedy)
        weights.restore(folder)
        device = weights.backbone.device
        saved = torch.load(folder / OPTIMIZERS_FILE, map_location=device, weights_only=True)
    except (OSError, EOFError, ValueError, KeyError, TypeError, RuntimeError, pickle.UnpicklingError) as error:
        remedy = "delete it to resume from the previous one"
        raise DataError(str(folder), f"damaged checkpoint ({error})", remedy) from error
    for optimizer, optimizer_state in zip(optimizers, saved, strict=True):
        optimizer.load_state_dict(optimizer_state)
    return state


def _write(folder: Path, weights: Weights, optimizers: Sequence[torch.optim.Optimizer], state: TrainerState) -> None:
    with written_whole(folder) as scratch:
        weights.save(scratch)
        torch.save([optimizer.state_dict() for optimizer in optimizers], scratch / OPTIMIZERS_FILE)
        (scratch / STATE_FILE).write_text(json.dumps(asdict(state), indent=1) + "\n")


def _list(output: Path, prefix: str) -> list[Path]:
    folders = [path for path in output.glob(f"{prefix}-*") if path.name.removeprefix(f"{prefix}-").isdigit()]
    return sorted(folders, key=_update)


def _update(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])
