"""Critics: V(s) and Q(s, u) of each role, with target networks, on the last hidden states of the shared backbone."""
# ruff: noqa: F722  (jaxtyping writes shapes as strings)

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, cast

import safetensors.torch
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from step_hrl.errors import DataError
from step_hrl.models.collate import ROLES
from step_hrl.models.randomness import seeded

_safetensors = cast(Any, safetensors.torch)  # partly annotated

CRITICS_FILE = "critics.safetensors"


class Estimates(NamedTuple):
    """The critics' estimates for a batch. Targets carry no gradient; ``target_q`` is the smallest of the target Qs."""

    value: Float[Tensor, " batch"]
    q: Float[Tensor, "heads batch"]
    target_q: Float[Tensor, " batch"]
    next_target_value: Float[Tensor, " batch"]


class Critics(nn.Module):
    """Per role one MLP for V and ``n_critics`` MLPs for Q, in float32, with a target network for each.

    Each MLP is (hidden, ReLU, hidden, ReLU, 1), as in the paper. V is read at the last token of the state, Q at the
    last token of the utterance.
    """

    def __init__(self, width: int, *, n_critics: int = 1, seed: int = 0) -> None:
        """Create untrained critics for hidden states of a width. The global random state does not change."""
        super().__init__()
        self.width = width
        self.n_critics = n_critics
        with seeded(seed):
            self.v = nn.ModuleList(_mlp(width) for _ in ROLES)
            self.q = nn.ModuleList(nn.ModuleList(_mlp(width) for _ in ROLES) for _ in range(n_critics))
        self.target_v = copy.deepcopy(self.v).requires_grad_(False)
        self.target_q = copy.deepcopy(self.q).requires_grad_(False)

    def forward(
        self,
        state: Float[Tensor, "batch width"],
        utterance: Float[Tensor, "batch width"],
        q_features: Float[Tensor, "batch width"],
        next_state: Float[Tensor, "batch width"],
        role: Int[Tensor, " batch"],
    ) -> Estimates:
        """Estimate the values of transitions.

        Args:
            state: Hidden states at the end of s.
            utterance: Hidden states at the end of u.
            q_features: Input of the target Q: ``utterance``, or ``state`` as in the reference.
            next_state: Hidden states at the end of s'.
            role: Index into :data:`~step_hrl.models.collate.ROLES`.
        """
        value = _by_role(self.v, state, role)
        q = torch.stack([_by_role(cast(nn.ModuleList, heads), utterance, role) for heads in self.q])
        with torch.no_grad():
            target_qs = [_by_role(cast(nn.ModuleList, heads), q_features, role) for heads in self.target_q]
            target_q = torch.stack(target_qs).amin(dim=0)
            next_target_value = _by_role(self.target_v, next_state, role)
        return Estimates(value, q, target_q, next_target_value)

    @torch.no_grad()
    def move_targets(self, rate: float) -> None:
        """Update the targets: target <- (1 - rate) target + rate critic. Call it after each optimizer step."""
        for target, critic in ((self.target_v, self.v), (self.target_q, self.q)):
            for target_parameter, parameter in zip(target.parameters(), critic.parameters(), strict=True):
                target_parameter.lerp_(parameter, rate)

    def save(self, folder: Path) -> None:
        """Write critics and targets as ``critics.safetensors``."""
        # One metadata entry: several would be written in random order, and equal critics must give equal files.
        shape = {"width": self.width, "n_critics": self.n_critics, "roles": [*map(str, ROLES)]}
        metadata = {"critics": json.dumps(shape)}
        _safetensors.save_file(
            {name: tensor.contiguous() for name, tensor in self.state_dict().items()}, folder / CRITICS_FILE, metadata
        )

    def restore(self, folder: Path) -> None:
        """Load the critics and targets that :meth:`save` wrote. Raises DataError where they do not fit."""
        file = folder / CRITICS_FILE
        try:
            self.load_state_dict(_safetensors.load_file(file, device=str(next(self.parameters()).device)))
        except (OSError, safetensors.SafetensorError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise DataError(str(file), f"no critics of this shape ({reason})", "train stage 2 again") from error


def _mlp(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1)
    ).float()


def _by_role(
    heads: nn.ModuleList, features: Float[Tensor, "batch width"], role: Int[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """Apply to each row its role's head. A head without rows is still run, so that every parameter has a gradient."""
    with torch.autocast(features.device.type, enabled=False):
        values = features.new_zeros(len(features), dtype=torch.float32)
        for index, head in enumerate(cast(Iterable[nn.Module], heads)):
            rows = (role == index).nonzero()[:, 0]
            values = values.index_put((rows,), head(features[rows].float())[:, 0])
    return values
