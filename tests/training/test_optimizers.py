from __future__ import annotations

import pytest
import torch
from tests.tiny_model import tiny_backbone

from step_hrl.config import AdamWConfig, MuonConfig, TrainingConfig
from step_hrl.training.muon import Muon, orthogonal
from step_hrl.training.optimizers import create_optimizers, schedule, set_learning_rate


def names_of(backbone: torch.nn.Module, optimizer: torch.optim.Optimizer) -> set[str]:
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    return {name for name, p in backbone.named_parameters() if id(p) in held}


def test_muon_takes_the_hidden_matrices_and_adamw_the_rest() -> None:
    backbone = tiny_backbone()
    muon_config = MuonConfig(matrix_learning_rate=0.02)
    config = TrainingConfig(optimizer=muon_config, learning_rate=0.003, weight_decay=0.1)
    adamw, muon = create_optimizers(backbone, config)
    assert isinstance(muon, Muon)
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
    backbone = tiny_backbone()
    frozen = next(backbone.parameters())
    frozen.requires_grad = False
    (adamw,) = create_optimizers(backbone, TrainingConfig(optimizer=AdamWConfig()))
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
    (adamw,) = create_optimizers(tiny_backbone(), TrainingConfig(learning_rate=0.1))
    for _ in range(2):
        set_learning_rate([adamw], 0.5)
    assert {group["lr"] for group in adamw.param_groups} == {0.05}


def test_muon_makes_the_updates_of_torch() -> None:
    torch.manual_seed(0)
    for shape in ((8, 24), (24, 8), (12, 12)):
        ours = torch.nn.Parameter(torch.randn(shape))
        theirs = torch.nn.Parameter(ours.detach().clone())
        settings = {"lr": 0.1, "weight_decay": 0.1, "momentum": 0.9}
        pair = Muon([ours], **settings), torch.optim.Muon([theirs], **settings)
        before = ours.detach().clone()
        for _ in range(3):
            ours.grad = torch.randn(shape)
            theirs.grad = ours.grad.clone()
            for optimizer in pair:
                optimizer.step()
        # Torch's are rounded to bfloat16, which has eight bits.
        apart, moved = (float((ours - other).detach().abs().max()) for other in (theirs, before))
        assert apart < 0.02 * moved


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (9, 9)])
def test_orthogonal_matrices_keep_their_directions_and_lose_their_lengths(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    found = orthogonal(matrix).float()
    lengths = torch.linalg.svdvals(found)
    assert float(lengths.min()) > 0.5
    assert float(lengths.max()) < 1.3
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    assert float((found - left @ right).norm()) < 0.4 * float((left @ right).norm())
