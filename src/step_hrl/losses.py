"""Every equation that is minimised: pure functions of tensors. B is the batch, L the padded length in tokens."""
# ruff: noqa: F722  (jaxtyping writes shapes as strings)

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor


def utterance_log_likelihood(
    log_probs: Float[Tensor, "batch length"], utterance_mask: Bool[Tensor, "batch length"]
) -> Float[Tensor, " batch"]:
    r"""Length-normalised log-likelihood of each utterance (paper, stage 1).

    .. math:: \ell_b = \frac{1}{|u_b|} \sum_{i=1}^{|u_b|} \log \pi_\theta(u_{b,i} \mid s_b, u_{b,<i})

    The line end is a token of the utterance. Behaviour cloning minimises :math:`-\ell_b`.

    Args:
        log_probs: log-probability (nats) of each token given those before it; read only inside the mask.
        utterance_mask: True on the tokens of the utterance; at least one in each row.

    >>> import torch
    >>> log_probs = torch.tensor([[-9.0, -1.0, -3.0], [-9.0, -9.0, -0.5]])
    >>> mask = torch.tensor([[False, True, True], [False, False, True]])
    >>> utterance_log_likelihood(log_probs, mask).tolist()
    [-2.0, -0.5]
    """
    inside = log_probs.where(utterance_mask, log_probs.new_zeros(()))
    return inside.sum(dim=1) / utterance_mask.sum(dim=1)
