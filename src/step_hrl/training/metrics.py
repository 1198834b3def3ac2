"""Running means of metrics, and the log they are written to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from step_hrl.models.collate import ROLES
from step_hrl.runs.files import write_atomically
from step_hrl.runs.layout import METRICS_FILE


class WeightedSum(NamedTuple):
    """A sum and its number of terms, so that a mean does not depend on how samples are batched."""

    total: Tensor
    number: Tensor


def by_role(name: str, values: Tensor, role: Tensor, among: Tensor | None = None) -> dict[str, WeightedSum]:
    """Sum values (B,) by role, under ``name_high`` and so on; ``role`` (B,) indexes ``ROLES``.

    ``among`` (B,) selects the values to sum; None takes all.
    """
    sums: dict[str, WeightedSum] = {}
    for index, each in enumerate(ROLES):
        mask = (role == index if among is None else (role == index) & among).to(values.dtype)
        sums[f"{name}_{each.value}"] = WeightedSum((values * mask).sum(), mask.sum())
    return sums


class Means:
    """Accumulates sums by name until their means are read."""

    def __init__(self) -> None:
        """Start without sums."""
        self._sums: dict[str, WeightedSum] = {}

    def add(self, sums: Mapping[str, WeightedSum]) -> None:
        """Add sums and their numbers of terms, detached."""
        for name, (total, number) in sums.items():
            total, number = total.detach().double(), number.detach().double()
            previous = self._sums.get(name)
            if previous is not None:
                total, number = previous.total + total, previous.number + number
            self._sums[name] = WeightedSum(total, number)

    def read(self, accelerator: Any) -> dict[str, float]:
        """Return the means over all processes since the last call, without names whose number of terms is 0.

        Every process must have added the same names.
        """
        names = sorted(self._sums)
        sums, self._sums = self._sums, {}
        if not names:
            return {}
        pairs = accelerator.reduce(torch.stack([torch.stack(sums[name]) for name in names]), reduction="sum")
        return {name: total / number for name, (total, number) in zip(names, pairs.tolist(), strict=True) if number}


class MetricsLog:
    """Appends metrics as JSON lines and passes them to the accelerator's trackers."""

    def __init__(self, accelerator: Any, folder: Path, resumed_at: int) -> None:
        """Open the log. Lines of updates after ``resumed_at`` are dropped, because those updates are repeated."""
        self._accelerator = accelerator
        self._path = folder / METRICS_FILE
        if accelerator.is_main_process:
            folder.mkdir(parents=True, exist_ok=True)
            kept = [line for line in _lines(self._path) if json.loads(line)["update"] <= resumed_at]
            write_atomically(self._path, "".join(f"{line}\n" for line in kept))

    def write(self, update: int, values: Mapping[str, float]) -> None:
        """Write one line; only the main process does."""
        if self._accelerator.is_main_process:
            with self._path.open("a") as file:
                file.write(json.dumps({"update": update, **values}) + "\n")
        self._accelerator.log(dict(values), step=update)


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        return []
    # A line cut short by a crash is dropped; its update comes after the last checkpoint and is repeated.
    return [line for line in path.read_text().splitlines() if line.startswith("{") and line.endswith("}")]
