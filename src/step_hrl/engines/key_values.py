"""Keys and values of rows being decoded: with room to grow, and joined from prompts read in several passes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicLayer

ROOM = 32
"""Positions allocated ahead, so that one copy of the keys and values serves many decoded tokens."""


class RoomyLayer(DynamicLayer):
    """One layer's keys and values, (rows, heads, positions, width of a head), appended to in place."""

    _stores: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append positions and return all there are."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        if self.keys is None or self.values is None or not self.get_seq_length():
            # A prompt's first pass is kept as it is: its rows may yet be joined with others.
            self.keys, self.values = key_states, value_states
            return key_states, value_states
        used, added = self.get_seq_length(), key_states.shape[-2]
        if self._stores is None or used + added > self._stores[0].shape[-2]:
            self._stores = (_enlarged(self.keys, added + ROOM), _enlarged(self.values, added + ROOM))
        for store, states in zip(self._stores, (key_states, value_states), strict=True):
            store[:, :, used : used + added] = states
        self.keys, self.values = (store[:, :, : used + added] for store in self._stores)
        return self.keys, self.values

    def narrow(self, rows: Tensor, start: int) -> None:
        """Keep only some rows, and of them the positions from ``start`` on."""
        assert self.keys is not None and self.values is not None, "a prompt was read"  # noqa: PT018
        self._stores = None
        self.keys, self.values = self.keys[rows, :, start:], self.values[rows, :, start:]


def empty() -> Cache:
    """A cache that holds nothing yet."""
    return Cache(layer_class_to_replicate=RoomyLayer)


def narrow(cache: Cache, rows: Tensor, start: int) -> None:
    """Keep only some rows of a cache, and of them the positions from ``start`` on."""
    for layer in cast(list[RoomyLayer], cache.layers):
        layer.narrow(rows, start)


def joined(caches: Sequence[Cache]) -> Cache:
    """One cache of all rows, in order; shorter ones are filled with zeros on the left, which masks must hide."""
    if len(caches) == 1:
        return caches[0]
    longest = max(cache.get_seq_length() for cache in caches)
    whole: Any = empty()
    for index in range(len(caches[0].layers)):
        parts: list[Any] = [cache.layers[index] for cache in caches]
        whole.update(_stacked([p.keys for p in parts], longest), _stacked([p.values for p in parts], longest), index)
    return whole


def _stacked(parts: Sequence[Tensor], longest: int) -> Tensor:
    stacked = parts[0].new_zeros((sum(len(part) for part in parts), parts[0].shape[1], longest, parts[0].shape[3]))
    start = 0
    for part in parts:
        stacked[start : start + len(part), :, longest - part.shape[2] :] = part
        start += len(part)
    return stacked


def _enlarged(states: Tensor, by: int) -> Tensor:
    rows, heads, positions, width = states.shape
    store = states.new_empty((rows, heads, positions + by, width))
    store[:, :, :positions] = states
    return store
