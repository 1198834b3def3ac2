"""Copies of a model for generation: adapters merged, in the precision of acting, and quantized if that is chosen."""
# ruff: noqa: F722  (jaxtyping writes shapes as strings)

from __future__ import annotations

from copy import deepcopy
from typing import Any, cast

import peft
import torch
from jaxtyping import Float
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

LARGEST = 127
"""Largest magnitude of a quantized number."""


def acting_copy(model: Any, dtype: torch.dtype | None = None, *, int8: bool = False) -> Any:
    """Copy a model for generation.

    The model itself is not changed, and the copy shares the weights that it leaves alone.

    Args:
        model: A Hugging Face model, or PEFT's wrapper of one.
        dtype: Of the copy's weights; None keeps theirs. Buffers always keep theirs, because bfloat16 has too few digits
            for rotary frequencies.
        int8: Whether to quantize the linear layers below the output head; see :class:`Int8Linear`.

    Returns:
        The Hugging Face model of the copy, in evaluation mode. Adapters are merged into its weights, except where they
        belong to an embedding that is also the output head: those stay in its layers.
    """
    merged = _is_mergeable(model)
    shared = {
        id(weight): nn.Parameter(weight.data.clone() if merged and ".base_layer." in name else weight.data, False)
        for name, weight in model.named_parameters()
    }
    copy = deepcopy(model, cast(Any, shared))
    if isinstance(copy, peft.PeftModel):
        copy = cast(Any, copy).merge_and_unload() if merged else copy.get_base_model()
    if dtype is not None:
        for weight in copy.parameters():
            weight.data = weight.data.to(dtype)
    if int8:
        _quantize(cast(Any, copy).base_model)
    return copy.eval()


def _is_mergeable(model: Any) -> bool:
    if not isinstance(model, peft.PeftModel):
        return False
    base: Any = model.get_base_model()
    embeddings = (base.get_input_embeddings(), base.get_output_embeddings())
    return not (base.config.tie_word_embeddings and any(isinstance(each, BaseTunerLayer) for each in embeddings))


def _quantize(module: nn.Module) -> None:
    for name, child in module.named_children():
        if type(child) is nn.Linear:
            setattr(module, name, Int8Linear(child))
        else:
            _quantize(child)


class Int8Linear(nn.Module):
    """A linear layer that multiplies integers of 8 bits.

    A scale for each output of the weights, and one for each row of the input, map the largest magnitude to 127. A row's
    result is therefore independent of the other rows, unlike with one scale for the whole input.
    """

    def __init__(self, linear: nn.Linear) -> None:
        """Quantize the weights of a layer."""
        super().__init__()
        weight = linear.weight.detach().float()
        scale = _scale(weight)
        self.weight = nn.Parameter((weight / scale).round().to(torch.int8).T, requires_grad=False)
        self.scale = nn.Parameter(scale[:, 0], requires_grad=False)
        self.bias = cast(nn.Parameter | None, linear.bias)

    def forward(self, hidden: Float[Tensor, "*any inputs"]) -> Float[Tensor, "*any outputs"]:
        """Multiply with the weights and add the bias, if any."""
        rows = hidden.flatten(0, -2).float()
        scale = _scale(rows)
        product = cast(Any, torch)._int_mm((rows / scale).round_().to(torch.int8), self.weight)
        outputs = product.float().mul_(scale).mul_(self.scale).to(hidden.dtype)
        if self.bias is not None:
            outputs += self.bias
        return outputs.unflatten(0, hidden.shape[:-1])


def _scale(rows: Float[Tensor, "rows width"]) -> Float[Tensor, "rows 1"]:
    return rows.abs().amax(dim=1, keepdim=True).clamp_(min=torch.finfo(torch.float32).tiny) / LARGEST
