from __future__ import annotations

import doctest

import pytest
import torch
from jaxtyping import TypeCheckError

from step_hrl import losses
from step_hrl.losses import utterance_log_likelihood


def test_long_utterances_weigh_no_more_than_short_ones() -> None:
    log_probs = torch.tensor([[0.0, -1.0, -1.0, -4.0], [0.0, 0.0, 0.0, -2.0]])
    mask = torch.tensor([[False, True, True, True], [False, False, False, True]])
    assert utterance_log_likelihood(log_probs, mask).tolist() == [-2.0, -2.0]


def test_what_lies_outside_the_utterance_has_no_value_and_no_gradient() -> None:
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


def test_shapes_that_would_broadcast_are_refused_under_test() -> None:
    with pytest.raises(TypeCheckError):
        utterance_log_likelihood(torch.zeros(3, 4), torch.ones(1, 4, dtype=torch.bool))


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(losses).failed == 0
