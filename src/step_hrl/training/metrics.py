"""Running means of named figures, and where they are written."""

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
    """A sum, and the number of things it sums: means stay right however samples are batched."""

    total: Tensor
    number: Tensor


def by_role(name: str, values: Tensor, role: Tensor) -> dict[str, WeightedSum]:
    """Tallies of each role's share of the values (B,): ``name_high`` and so on."""
    sums: dict[str, WeightedSum] = {}
    for index, each in enumerate(ROLES):
        chosen = (role == index).to(values.dtype)
        sums[f"{name}_{each.value}"] = WeightedSum((values * chosen).sum(), chosen.sum())
    return sums


class Means:
    """Adds up sums by name until they are read."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._tallies: dict[str, WeightedSum] = {}

    def add(self, sums: Mapping[str, WeightedSum]) -> None:
        """Add detached sums and counts."""
        for name, weighted_sum in sums.items():
            total, number = weighted_sum.total.detach().double(), weighted_sum.number.detach().double()
            before = self._tallies.get(name)
            if before is not None:
                total, number = before.total + total, before.number + number
            self._tallies[name] = WeightedSum(total, number)

    def read(self, accelerator: Any) -> dict[str, float]:
        """Means over all processes since the last reading; names that counted nothing are left out.

        Every process must have seen the same names.
        """
        names = sorted(self._tallies)
        sums, self._tallies = self._tallies, {}
        if not names:
            return {}
        pairs = accelerator.reduce(torch.stack([torch.stack(sums[name]) for name in names]), reduction="sum")
        return {name: total / number for name, (total, number) in zip(names, pairs.tolist(), strict=True) if number}


class MetricsLog:
    """Appends metrics as JSON lines, and passes them on to the accelerator's trackers."""

    def __init__(self, accelerator: Any, folder: Path, resumed_at: int) -> None:
        """Open the log. Lines of updates after ``resumed_at`` are dropped: those updates are done again."""
        self._accelerator = accelerator
        self._path = folder / METRICS_FILE
        if accelerator.is_main_process:
            folder.mkdir(parents=True, exist_ok=True)
            kept = [line for line in _lines(self._path) if json.loads(line)["update"] <= resumed_at]
            write_atomically(self._path, "".join(f"{line}\n" for line in kept))

    def write(self, update: int, values: Mapping[str, float]) -> None:
        """Write one line, on the main process only."""
        if self._accelerator.is_main_process:
            with self._path.open("a") as file:
                file.write(json.dumps({"update": update, **values}) + "\n")
        self._accelerator.log(dict(values), step=update)


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        return []
    # A line cut short by a crash is dropped: its update is done again or was never checkpointed.
    return [line for line in path.read_text().splitlines() if line.startswith("{") and line.endswith("}")]
