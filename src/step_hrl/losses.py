"""All loss terms, as pure functions of tensors. B is the batch size, L the padded length in tokens."""
# ruff: noqa: F722  (jaxtyping writes shapes as strings)

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def utterance_log_likelihood(
    log_probs: Float[Tensor, "batch length"], utterance_mask: Bool[Tensor, "batch length"]
) -> Float[Tensor, " batch"]:
    r"""Length-normalized log-likelihood of each utterance (paper, stage 1).

    .. math:: \ell_b = \frac{1}{|u_b|} \sum_{i=1}^{|u_b|} \log \pi_\theta(u_{b,i} \mid s_b, u_{b,<i})

    The line end is a token of the utterance. Behavior cloning minimizes :math:`-\ell_b`.

    Args:
        log_probs: Log-probability (nats) of each token given those before it; read only inside the mask.
        utterance_mask: True on the tokens of the utterance; at least one in each row.

    >>> import torch
    >>> log_probs = torch.tensor([[-9.0, -1.0, -3.0], [-9.0, -9.0, -0.5]])
    >>> mask = torch.tensor([[False, True, True], [False, False, True]])
    >>> utterance_log_likelihood(log_probs, mask).tolist()
    [-2.0, -0.5]
    """
    inside = log_probs.where(utterance_mask, log_probs.new_zeros(()))
    return inside.sum(dim=1) / utterance_mask.sum(dim=1)


def td_target(
    reward: Float[Tensor, " batch"], next_value: Float[Tensor, " batch"], discount: Float[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    r"""The target of Q(s, u): :math:`y_b = r_b + \gamma_b\, V_{target}(s'_b)` (paper, stage 2).

    Args:
        reward: Of the transition.
        next_value: The target network's value of the next state; read only where ``discount`` is not 0.
        discount: :math:`\gamma^n` for a transition of n environment steps, 0 for a terminal one. A truncated transition
            bootstraps.

    >>> reward, next_value = torch.tensor([1.0, 0.0, 0.5]), torch.tensor([9.0, 2.0, 1.0])
    >>> td_target(reward, next_value, torch.tensor([0.0, 0.5, 0.25])).tolist()
    [1.0, 1.0, 0.75]
    """
    return reward + (discount * next_value).where(discount != 0, torch.zeros_like(reward))


def squared_error(
    prediction: Float[Tensor, "*heads batch"], target: Float[Tensor, " batch"]
) -> Float[Tensor, "*heads batch"]:
    """Squared error; no gradient flows through the target (L_Q; paper, stage 2)."""
    return (prediction - target.detach()).square()


def expectile_regression(
    prediction: Float[Tensor, " batch"], target: Float[Tensor, " batch"], expectile: float
) -> Float[Tensor, " batch"]:
    r"""Asymmetric squared error (L_V; implicit Q-learning, Kostrikov et al. 2021, equation 5).

    .. math:: L_\tau(d) = |\tau - 1(d < 0)|\, d^2, \quad d = Q_{target}(s, u) - V(s)

    With :math:`\tau > 1/2`, V leans toward the better utterances; :math:`\tau = 1/2` is half of the squared error.

    Args:
        prediction: V(s).
        target: The target network's Q(s, u); no gradient flows through it.
        expectile: :math:`\tau`, in (0, 1).

    >>> expectile_regression(torch.tensor([0.0, 0.0]), torch.tensor([2.0, -2.0]), 0.75).tolist()
    [3.0, 1.0]
    """
    difference = target.detach() - prediction
    return (expectile - (difference < 0).to(difference.dtype)).abs() * difference.square()


def advantage_weight(advantage: Float[Tensor, " batch"], beta: float, max_weight: float) -> Float[Tensor, " batch"]:
    r"""Weight of an utterance in advantage-weighted regression (Peng et al. 2019; paper, stage 2).

    .. math:: w_b = \min(\exp(A_b / \beta),\ w_{max}), \quad A_b = Q_{target}(s_b, u_b) - V(s_b)

    Args:
        advantage: :math:`A`; no gradient flows through the weight.
        beta: :math:`\beta > 0`; the larger it is, the closer all weights are to 1, as in behavior cloning.
        max_weight: :math:`w_{max}`.

    >>> advantage_weight(torch.tensor([0.0, -0.5, 9.0]), beta=0.5, max_weight=20.0).tolist()
    [1.0, 0.3678794503211975, 20.0]
    """
    return (advantage.detach() / beta).exp().clamp(max=max_weight)
