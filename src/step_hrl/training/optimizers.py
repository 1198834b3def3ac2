"""The optimizers of a stage and their learning rate schedule."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple, cast

import torch
from torch import nn

from step_hrl.config import MuonConfig, TrainingConfig
from step_hrl.errors import ModelError
from step_hrl.training.muon import Muon


class Heads(NamedTuple):
    """A module trained beside the backbone.

    ``learning_rate`` is its peak; in the first ``warmup_updates`` updates the backbone is not trained.
    """

    module: nn.Module
    learning_rate: float
    warmup_updates: int


def create_optimizers(
    module: nn.Module, config: TrainingConfig, processes: int = 1, heads: Heads | None = None
) -> list[torch.optim.Optimizer]:
    """Create the optimizers of a module's trainable parameters, and of the heads (always AdamW).

    :class:`~step_hrl.config.AdamWConfig`: one AdamW (Loshchilov and Hutter 2019).
    :class:`~step_hrl.config.MuonConfig`: Muon (Jordan et al. 2024) for the matrices between embedding and output head,
    AdamW for embeddings, output head, norms and biases. Vectors have no weight decay.

    Orthogonalization takes as long as half a batch of a small model, so several processes divide the matrices among
    them and exchange the results (ZeRO stage 1, Rajbhandari et al. 2020).

    Raises :class:`~step_hrl.errors.ModelError` where no parameter is trainable.
    """
    matrices, tables, vectors = _group_parameters(module)
    if not (matrices or tables or vectors):
        raise ModelError("backbone", "nothing to train", "set backbone.lora to continue training an adapter")
    muon = config.optimizer if isinstance(config.optimizer, MuonConfig) else None
    decayed = [*tables] if muon else [*matrices, *tables]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    optimizers: list[torch.optim.Optimizer] = []
    if groups:
        optimizers.append(torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.95), fused=True))
    if muon and matrices:
        settings: dict[str, Any] = {
            "lr": muon.matrix_learning_rate,
            "weight_decay": config.weight_decay,
            "momentum": 0.95,
        }
        if processes > 1:
            # Imported here, because it loads much of torch that a single process does not need.
            from torch.distributed.optim import ZeroRedundancyOptimizer

            optimizers.append(ZeroRedundancyOptimizer(matrices, Muon, **settings))
        else:
            optimizers.append(Muon(matrices, **settings))
    if heads is not None:
        trainable = [parameter for parameter in heads.module.parameters() if parameter.requires_grad]
        optimizers.append(torch.optim.AdamW(trainable, lr=heads.learning_rate, weight_decay=0.0, fused=True))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
            group["of_heads"] = heads is not None and optimizer is optimizers[-1]
    return optimizers


def gather_state(optimizers: Iterable[torch.optim.Optimizer]) -> None:
    """Gather the divided optimizer state in the first process, which saves it. Every process must call this."""
    for optimizer in optimizers:
        if hasattr(optimizer, "consolidate_state_dict"):
            cast(Any, optimizer).consolidate_state_dict(to=0)


def set_learning_rate(optimizers: Iterable[torch.optim.Optimizer], factor: float, *, heads_only: bool = False) -> None:
    """Set learning rates to ``factor`` times their peaks; with ``heads_only``, the backbone's to 0."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = 0.0 if heads_only and not group["of_heads"] else group["peak_lr"] * factor


def schedule(update: int, updates: int, warmup_fraction: float) -> float:
    """Factor of the peak learning rate at an update (from 0): linear warmup, then cosine decay to 0.

    >>> [round(schedule(update, 10, 0.2), 3) for update in (0, 1, 2, 6, 10)]
    [0.5, 1.0, 1.0, 0.5, 0.0]
    """
    warmup = math.ceil(updates * warmup_fraction)
    if update < warmup:
        return (update + 1) / warmup
    return 0.5 * (1.0 + math.cos(math.pi * (update - warmup) / max(1, updates - warmup)))


def _group_parameters(module: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]]:
    """Trainable parameters as (hidden matrices, embedding and output head tables, vectors)."""
    tables_by_id: set[int] = set()
    for name, child in cast(Iterable[tuple[str, nn.Module]], module.named_modules()):
        if isinstance(child, nn.Embedding) or name.endswith("lm_head"):
            tables_by_id.update(id(parameter) for parameter in child.parameters())
    matrices: list[nn.Parameter] = []
    tables: list[nn.Parameter] = []
    vectors: list[nn.Parameter] = []
    for parameter in module.parameters():
        if parameter.requires_grad:
            group = tables if id(parameter) in tables_by_id else matrices if parameter.ndim == 2 else vectors
            group.append(parameter)
    return matrices, tables, vectors
