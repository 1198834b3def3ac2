from __future__ import annotations

import pytest
import torch
from tests.micro import micro_backbone

from step_hrl.config import TrainingConfig
from step_hrl.training.optimizers import create_optimizers, schedule, set_learning_rate


def names_of(backbone: torch.nn.Module, optimizer: torch.optim.Optimizer) -> set[str]:
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    return {name for name, p in backbone.named_parameters() if id(p) in held}


def test_muon_takes_the_hidden_matrices_and_adamw_the_rest() -> None:
    backbone = micro_backbone()
    config = TrainingConfig(optimizer="muon", learning_rate=0.003, muon_learning_rate=0.02, weight_decay=0.1)
    adamw, muon = create_optimizers(backbone, config)
    assert isinstance(muon, torch.optim.Muon)
    matrices = names_of(backbone, muon)
    assert len(matrices) == 2 * 7
    assert all("_proj" in name for name in matrices)
    rest = names_of(backbone, adamw)
    assert rest == {name for name, _ in backbone.named_parameters()} - matrices
    assert any("embed_tokens" in name for name in rest)
    assert [group["lr"] for group in (*adamw.param_groups, *muon.param_groups)] == [0.003, 0.003, 0.02]
    # Norms are not decayed, everything else is.
    assert [group["weight_decay"] for group in (*adamw.param_groups, *muon.param_groups)] == [0.1, 0.0, 0.1]
    assert {p.ndim for p in adamw.param_groups[1]["params"]} == {1}


def test_adamw_takes_everything_that_is_trained() -> None:
    backbone = micro_backbone()
    frozen = next(backbone.parameters())
    frozen.requires_grad = False
    (adamw,) = create_optimizers(backbone, TrainingConfig(optimizer="adamw"))
    held = [p for group in adamw.param_groups for p in group["params"]]
    assert len(held) == len(list(backbone.parameters())) - 1
    assert all(p is not frozen for p in held)


def test_the_schedule_rises_then_falls_to_nothing() -> None:
    values = [schedule(update, 100, 0.1) for update in range(101)]
    assert values[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert values[10] == 1.0
    assert values[10:] == sorted(values[10:], reverse=True)
    assert values[100] == pytest.approx(0.0)
    assert schedule(0, 100, 0.0) == 1.0


def test_setting_the_rate_twice_does_not_compound() -> None:
    (adamw,) = create_optimizers(micro_backbone(), TrainingConfig(learning_rate=0.1))
    for _ in range(2):
        set_learning_rate([adamw], 0.5)
    assert {group["lr"] for group in adamw.param_groups} == {0.05}
