from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import TypeCheckError

from step_hrl.losses import (
    advantage_weight,
    expectile_regression,
    squared_error,
    td_target,
    utterance_log_likelihood,
)

NUMBERS = st.lists(st.floats(-4, 4, width=32), min_size=2, max_size=8)


def test_likelihoods_are_means_over_the_tokens() -> None:
    log_probs = torch.tensor([[0.0, -1.0, -1.0, -4.0], [0.0, 0.0, 0.0, -2.0]])
    mask = torch.tensor([[False, True, True, True], [False, False, False, True]])
    assert utterance_log_likelihood(log_probs, mask).tolist() == [-2.0, -2.0]


def test_tokens_outside_the_utterance_have_no_value_and_no_gradient() -> None:
    log_probs = torch.tensor([[float("nan"), -1.0, float("inf")]], requires_grad=True)
    mask = torch.tensor([[False, True, False]])
    value = utterance_log_likelihood(log_probs, mask)
    assert value.tolist() == [-1.0]
    value.sum().backward()
    assert log_probs.grad is not None
    assert log_probs.grad.tolist() == [[0.0, 1.0, 0.0]]


def test_a_likelihood_is_one_for_certain_utterances() -> None:
    mask = torch.ones(2, 5, dtype=torch.bool)
    assert utterance_log_likelihood(torch.zeros(2, 5), mask).exp().tolist() == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize(
    ("reward", "next_value", "discount", "target"),
    [
        (1.0, 0.0, 0.0, 1.0),  # terminated: nothing follows
        (0.0, 0.8, 0.99, 0.792),  # one step
        (0.5, 0.8, 0.99**3, 0.5 + 0.970299 * 0.8),  # a subtask of three steps
        (-1.0, -2.0, 0.5, -2.0),  # truncated: the next value counts
        (1.0, float("nan"), 0.0, 1.0),  # a terminal state's value is never read
    ],
)
def test_td_targets_by_hand(reward: float, next_value: float, discount: float, target: float) -> None:
    found = td_target(torch.tensor([reward]), torch.tensor([next_value]), torch.tensor([discount]))
    assert found.tolist() == pytest.approx([target])


@pytest.mark.parametrize(
    ("value", "target", "expectile", "loss"),
    [(0.0, 2.0, 0.7, 2.8), (0.0, -2.0, 0.7, 1.2), (1.0, 1.0, 0.7, 0.0), (0.5, 0.0, 0.9, 0.025), (0.0, 1.0, 0.05, 0.05)],
)
def test_expectile_losses_by_hand(value: float, target: float, expectile: float, loss: float) -> None:
    found = expectile_regression(torch.tensor([value]), torch.tensor([target]), expectile)
    assert found.tolist() == pytest.approx([loss])


@given(NUMBERS)
def test_at_one_half_the_expectile_is_half_of_least_squares(numbers: list[float]) -> None:
    value, target = torch.zeros(len(numbers)), torch.tensor(numbers)
    assert torch.allclose(expectile_regression(value, target, 0.5), squared_error(value, target) / 2)


@pytest.mark.parametrize("expectile", [0.1, 0.5, 0.7, 0.9])
def test_the_minimizing_value_is_the_expectile(expectile: float) -> None:
    # The definition: the mass above, weighted by tau, balances the mass below, weighted by 1 - tau.
    qs = torch.tensor([0.0, 1.0, 4.0])
    grid = torch.linspace(0, 4, 4001)
    total = torch.stack([expectile_regression(grid, q.expand(4001), expectile) for q in qs]).sum(dim=0)
    best = grid[total.argmin()]
    above, below = (qs - best).clamp(min=0).sum(), (best - qs).clamp(min=0).sum()
    assert float(expectile * above) == pytest.approx(float((1 - expectile) * below), abs=5e-3)


@given(NUMBERS, st.floats(0.05, 5), st.floats(1, 50))
def test_weights_rise_with_the_advantage_up_to_the_clip(
    advantages: list[float], beta: float, max_weight: float
) -> None:
    weights = advantage_weight(torch.tensor(sorted(advantages)), beta, max_weight).tolist()
    assert weights == sorted(weights)
    assert all(0 <= weight <= max_weight * (1 + 1e-6) for weight in weights)
    assert advantage_weight(torch.zeros(1), beta, max_weight).tolist() == [1.0]


def test_targets_and_weights_pass_no_gradient() -> None:
    prediction, target = torch.zeros(2, requires_grad=True), torch.ones(2, requires_grad=True)
    (expectile_regression(prediction, target, 0.7) + squared_error(prediction, target)).sum().backward()
    assert prediction.grad is not None
    assert target.grad is None
    assert not advantage_weight(target, 1.0, 20.0).requires_grad


def test_shapes_that_would_broadcast_are_refused_under_test() -> None:
    with pytest.raises(TypeCheckError):
        utterance_log_likelihood(torch.zeros(3, 4), torch.ones(1, 4, dtype=torch.bool))
