"""A key-value cache that is preallocated in blocks and whose rows can be dropped and concatenated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

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

    def select(self, rows: Tensor, start: int) -> None:
        """Keep only these rows, and their positions from ``start`` on."""
        assert self.keys is not None and self.values is not None, "the cache holds a prompt"  # noqa: PT018
        self._buffers = None
        self.keys, self.values = self.keys[rows, :, start:], self.values[rows, :, start:]


def empty() -> Cache:
    """An empty cache."""
    return Cache(layer_class_to_replicate=BlockLayer)


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
