"""Critics: one head per role, lagging targets, the smaller of two Q functions, and files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from step_hrl.errors import DataError
from step_hrl.models.collate import ROLES
from step_hrl.models.critics import CRITICS_FILE, Critics

WIDTH = 8
ROWS = torch.arange(6) % len(ROLES)


def hidden(seed: int) -> torch.Tensor:
    return torch.randn(6, WIDTH, generator=torch.Generator().manual_seed(seed))


def test_each_role_has_its_own_head() -> None:
    critics = Critics(WIDTH).requires_grad_(False)
    estimates = critics(hidden(0), hidden(1), hidden(1), hidden(2), ROWS)
    for row, role in enumerate(ROWS.tolist()):
        assert torch.allclose(estimates.value[row], critics.v[role](hidden(0)[row])[0])
        assert torch.allclose(estimates.q[0, row], critics.q[0][role](hidden(1)[row])[0])
        assert torch.allclose(estimates.next_target_value[row], critics.target_v[role](hidden(2)[row])[0])


def test_targets_have_no_gradient_and_heads_without_rows_have_one() -> None:
    critics = Critics(WIDTH, n_critics=2)
    only_high = torch.zeros(6, dtype=torch.long)
    estimates = critics(hidden(0), hidden(1), hidden(1), hidden(2), only_high)
    (estimates.value.sum() + estimates.q.sum()).backward()
    assert not estimates.target_q.requires_grad
    assert all(p.grad is not None for p in (*critics.v.parameters(), *critics.q.parameters()))
    assert all(p.grad is None for p in (*critics.target_v.parameters(), *critics.target_q.parameters()))
    assert all(float(p.grad.abs().sum()) == 0 for p in critics.v[1].parameters() if p.grad is not None)


def test_the_smaller_of_two_critics_is_used() -> None:
    critics = Critics(WIDTH, n_critics=2)
    estimates = critics(hidden(0), hidden(1), hidden(1), hidden(2), ROWS)
    assert estimates.q.shape == (2, 6)
    assert not torch.equal(estimates.q[0], estimates.q[1])
    assert torch.equal(estimates.target_q, estimates.q.detach().amin(dim=0))


def test_targets_move_by_tau() -> None:
    critics = Critics(WIDTH)
    before = critics.target_v[0][0].weight.clone()
    with torch.no_grad():
        critics.v[0][0].weight.add_(1.0)
    critics.move_targets(0.25)
    assert torch.allclose(critics.target_v[0][0].weight, before + 0.25)
    assert torch.equal(critics.target_v[1][0].weight, critics.v[1][0].weight)


def test_files_hold_critics_and_targets_in_float32(tmp_path: Path) -> None:
    critics = Critics(WIDTH, n_critics=2, seed=1)
    critics.v[0][0].weight.data.add_(1.0)
    critics.save(tmp_path)
    again = Critics(WIDTH, n_critics=2, seed=2)
    again.restore(tmp_path)
    assert {name: tensor.tolist() for name, tensor in again.state_dict().items()} == {
        name: tensor.tolist() for name, tensor in critics.state_dict().items()
    }
    assert {tensor.dtype for tensor in again.state_dict().values()} == {torch.float32}
    with pytest.raises(DataError, match="no critics of this shape"):
        Critics(WIDTH, n_critics=1).restore(tmp_path)
    (tmp_path / CRITICS_FILE).write_bytes(b"{}")
    with pytest.raises(DataError, match=CRITICS_FILE):
        again.restore(tmp_path)


def test_critics_compute_in_float32() -> None:
    critics = Critics(WIDTH)
    with torch.autocast("cpu", torch.bfloat16):
        value = critics(*(hidden(seed).bfloat16() for seed in (0, 1, 1, 2)), ROWS).value
    assert value.dtype == torch.float32
    assert torch.equal(value, critics(*(hidden(seed).bfloat16().float() for seed in (0, 1, 1, 2)), ROWS).value)


def test_creating_critics_leaves_the_random_state_unchanged() -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    first, second = Critics(WIDTH, seed=5), Critics(WIDTH, seed=5)
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(first.v[0][0].weight, second.v[0][0].weight)
