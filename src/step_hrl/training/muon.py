"""Muon (Jordan et al. 2024) in the precision that a device computes fast in.

``torch.optim.Muon`` always orthogonalizes in bfloat16. A CPU without bfloat16 instructions multiplies it many times
slower than float32: a step took longer than ten batches of a small model.
"""
# ruff: noqa: F722  (jaxtyping writes shapes as strings)

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from step_hrl.models.backbone import has_native_bfloat16

ITERATIONS = 5
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic that is steepest at zero while it keeps singular values near 1 (Jordan et al. 2024)."""
_SMALLEST_NORM = 1e-7


class Muon(torch.optim.Optimizer):
    r"""Updates each matrix by its orthogonalized momentum.

    .. math::
        B &\leftarrow \mu B + (1 - \mu)\, G \\
        \theta &\leftarrow (1 - \eta \lambda)\, \theta
            - \eta \sqrt{\max(1, m / n)}\; \mathrm{orthogonal}((1 - \mu)\, G + \mu B)

    for a matrix of m rows and n columns with gradient G: the update of ``torch.optim.Muon`` with its defaults.
    """

    def __init__(
        self, params: Iterable[nn.Parameter], *, lr: float, weight_decay: float = 0.0, momentum: float = 0.95
    ) -> None:
        """Optimize matrices."""
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Update every matrix that has a gradient."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is not None:
                    self._update(matrix, group)
        return loss

    def _update(self, matrix: nn.Parameter, group: dict[str, Any]) -> None:
        assert matrix.grad is not None, "only called with a gradient"
        state = self.state[matrix]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(matrix)
        momentum: Tensor = state["momentum_buffer"]
        momentum.lerp_(matrix.grad, 1 - group["momentum"])
        direction = orthogonal(matrix.grad.lerp(momentum, group["momentum"]))
        matrix.mul_(1 - group["lr"] * group["weight_decay"])
        scale = math.sqrt(max(1.0, matrix.shape[0] / matrix.shape[1]))
        matrix.add_(direction.to(matrix.dtype), alpha=-group["lr"] * scale)


def orthogonal(matrix: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows columns"]:
    """Approximately the nearest orthogonal matrix, by a Newton-Schulz iteration: singular values in about [0.7, 1.2].

    >>> result = orthogonal(torch.tensor([[3.0, 0.0], [0.0, 2.0]]))
    >>> bool(((0.6 < result.diag()) & (result.diag() < 1.3)).all())
    True
    """
    tall = matrix.shape[0] > matrix.shape[1]
    dtype = torch.bfloat16 if has_native_bfloat16(matrix.device) else torch.float32
    wide: Tensor = (matrix.t() if tall else matrix).to(dtype)
    wide = nn.functional.normalize(wide, dim=(0, 1), eps=_SMALLEST_NORM)  # pyright: ignore[reportArgumentType]
    a, b, c = _COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = wide @ wide.t()
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide.t() if tall else wide
