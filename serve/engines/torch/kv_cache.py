"""The key-value cache of a batch whose requests come and go.

Every row is aligned to the right: its newest token is in the last column and its padding, if any, in the
first ones. So one step appends one column for all rows, whatever their lengths, and transformers' own
masks and models are used as they are. transformers' DynamicLayer would copy the whole cache at each step;
here each layer keeps spare columns, and a copy happens only when rows join or leave, or when the spare
ones are used up.
"""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import Cache
from transformers.cache_utils import DynamicLayer

SPARE = 128
"""Columns kept free after a copy: a compromise between copies and memory."""


class RoomyLayer(DynamicLayer):
    """A layer's keys and values [rows, heads, columns, dim] with room for more columns behind `used`."""

    def __init__(self) -> None:
        super().__init__()
        self.used = 0

    def place(self, keys: torch.Tensor, values: torch.Tensor, used: int) -> None:
        """Take over buffers of which the first `used` columns are filled."""
        self.lazy_initialization(keys, values)
        self.keys, self.values, self.used = keys, values, used

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.used:  # a prompt: as it comes, the copy that makes room is `regroup`'s
            self.place(key_states, value_states, key_states.shape[-2])
            return key_states, value_states
        assert self.keys is not None
        assert self.values is not None
        end = self.used + key_states.shape[-2]
        if end > self.keys.shape[-2]:
            self.keys, self.values = (with_room(t[:, :, : self.used], end) for t in (self.keys, self.values))
        self.keys[:, :, self.used : end] = key_states
        self.values[:, :, self.used : end] = value_states
        self.used = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def get_seq_length(self) -> int:
        return self.used


def with_room(filled: torch.Tensor, columns: int) -> torch.Tensor:
    """A copy of [rows, heads, used, dim] with at least `columns`, and SPARE behind."""
    rows, heads, used, dim = filled.shape
    roomy = filled.new_zeros(rows, heads, columns + SPARE, dim)
    roomy[:, :, :used] = filled
    return roomy


def new_cache() -> Cache:
    return Cache(layer_class_to_replicate=RoomyLayer)


def regroup(parts: Sequence[tuple[Cache, Sequence[int], Sequence[int]]]) -> Cache:
    """One cache from rows of several: for each part its cache, the rows to keep, and those rows' lengths.

    Rows keep their order. Padding is zeros, as what attention masks out must at least be finite."""
    lengths = [length for _, _, part in parts for length in part]
    columns = max(lengths)
    cache = new_cache()
    for index in range(len(parts[0][0].layers)):
        sources = [(part.layers[index], rows, kept) for part, rows, kept in parts]
        layer = RoomyLayer()
        keys, values = (gather(sources, name, len(lengths), columns) for name in ("keys", "values"))
        layer.place(keys, values, columns)
        cache.layers.append(layer)
    return cache


def gather(
    sources: Sequence[tuple[Any, Sequence[int], Sequence[int]]], name: str, rows: int, columns: int
) -> torch.Tensor:
    first: torch.Tensor = getattr(sources[0][0], name)
    target = first.new_zeros(rows, first.shape[1], columns + SPARE, first.shape[3])
    at = 0
    for layer, kept, lengths in sources:
        buffer: torch.Tensor = getattr(layer, name)
        for row, length in zip(kept, lengths, strict=True):
            filled = buffer[row, :, layer.used - length : layer.used]
            target[at, :, columns - length : columns] = filled
            at += 1
    return target
