"""A key-value cache that is preallocated in blocks and whose rows can be dropped and concatenated."""
# ruff: noqa: F722  (jaxtyping writes shapes as strings)

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicLayer

BLOCK = 32
"""Positions allocated ahead, so that keys and values are copied once for many decoded tokens."""


class BlockLayer(DynamicLayer):
    """One layer's keys and values, (rows, heads, positions, head width), which are appended to in place."""

    _buffers: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append positions; return the keys and values of all positions."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        if self.keys is None or self.values is None or not self.get_seq_length():
            # The prefill is stored without spare positions, because it may be concatenated with other rows first.
            self.keys, self.values = key_states, value_states
            return key_states, value_states
        used, added = self.get_seq_length(), key_states.shape[-2]
        if self._buffers is None or used + added > self._buffers[0].shape[-2]:
            self._buffers = (_enlarge(self.keys, added + BLOCK), _enlarge(self.values, added + BLOCK))
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, used : used + added] = states
        self.keys, self.values = (buffer[:, :, : used + added] for buffer in self._buffers)
        return self.keys, self.values

    def continue_from(self, buffers: tuple[Tensor, Tensor], used: int) -> None:
        """Take buffers of keys and values whose first ``used`` positions are filled."""
        self.lazy_initialization(*buffers)
        self._buffers = buffers
        self.keys, self.values = (buffer[:, :, :used] for buffer in buffers)

    def select(self, rows: Tensor, start: int) -> None:
        """Keep only these rows, and their positions from ``start`` on."""
        assert self.keys is not None and self.values is not None, "the cache holds a prompt"  # noqa: PT018
        self._buffers = None
        self.keys, self.values = self.keys[rows, :, start:], self.values[rows, :, start:]


def empty() -> Cache:
    """An empty cache."""
    return Cache(layer_class_to_replicate=BlockLayer)


def is_plain(decoder: Any) -> bool:
    """Whether a decoder's layers all keep one key and one value a token, which follow from the tokens up to it alone.

    Others, such as convolutions, recurrent layers, layers that share keys and values, and rotary frequencies that
    depend on the length, keep more than can be reused for another prompt, or less.
    """
    config, cache = decoder.config, empty()
    ropes = cast(dict[str, Any], getattr(config, "rope_parameters", None) or {})
    by_layer = [cast(dict[str, Any], rope) for rope in (ropes, *ropes.values()) if isinstance(rope, dict)]
    if any(rope.get("rope_type") in ("dynamic", "longrope") for rope in by_layer) or decoder._is_stateful:
        return False
    if not set(getattr(config, "layer_types", None) or ()) <= {"full_attention", "sliding_attention"}:
        return False
    decoder(input_ids=torch.zeros(1, 1, dtype=torch.long, device=decoder.device), past_key_values=cache, use_cache=True)
    layers = cast(list[Any], cache.layers)
    shapes = {states.shape for layer in layers for states in (layer.keys, layer.values) if states is not None}
    return len(layers) == config.num_hidden_layers and len(shapes) == 1


def states_of(cache: Cache, row: int, length: int) -> Float[Tensor, "layers_twice heads length width"]:
    """A copy of the last ``length`` keys and values of a row in all layers, alternately."""
    layers = cast(list[Any], cache.layers)
    return torch.stack([states[row, :, -length:] for layer in layers for states in (layer.keys, layer.values)])


def continuing(rows: Sequence[Tensor | None], length: int, spare: int) -> Cache:
    """A cache of ``length`` positions that hold each row's states, or none, padded with zeros on the left.

    ``rows`` are as :func:`states_of` returns them; there is room for ``spare`` more positions. Without any position the
    cache is empty.
    """
    known = [(index, states) for index, states in enumerate(rows) if states is not None]
    cache = empty()
    if length == 0:
        return cache
    twice, heads, _, width = known[0][1].shape
    buffers = known[0][1].new_zeros((twice, len(rows), heads, length + spare, width))
    for index, states in known:
        buffers[:, index, :, length - states.shape[2] : length] = states
    for keys, values in zip(buffers[::2], buffers[1::2], strict=True):
        layer = BlockLayer()
        layer.continue_from((keys, values), length)
        cache.layers.append(layer)
    return cache


def select(cache: Cache, rows: Tensor, start: int) -> None:
    """Keep only these rows of a cache, and their positions from ``start`` on."""
    for layer in cast(list[BlockLayer], cache.layers):
        layer.select(rows, start)


def concatenate(caches: Sequence[Cache]) -> Cache:
    """One cache of all rows, in order; shorter ones are padded with zeros on the left, which masks must exclude."""
    if len(caches) == 1:
        return caches[0]
    longest = max(cache.get_seq_length() for cache in caches)
    merged: Any = empty()
    for index in range(len(caches[0].layers)):
        layers: list[Any] = [cache.layers[index] for cache in caches]
        keys, values = (_stack([getattr(layer, name) for layer in layers], longest) for name in ("keys", "values"))
        merged.update(keys, values, index)
    return merged


def _stack(tensors: Sequence[Tensor], longest: int) -> Tensor:
    _, heads, _, width = tensors[0].shape
    stacked = tensors[0].new_zeros((sum(map(len, tensors)), heads, longest, width))
    start = 0
    for tensor in tensors:
        stacked[start : start + len(tensor), :, longest - tensor.shape[2] :] = tensor
        start += len(tensor)
    return stacked


def _enlarge(states: Tensor, by: int) -> Tensor:
    rows, heads, positions, width = states.shape
    buffer = states.new_empty((rows, heads, positions + by, width))
    buffer[:, :, :positions] = states
    return buffer
