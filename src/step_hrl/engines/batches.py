"""Asks being decoded together: rows, their batch, and how prompts are prefilled from what is known of them."""
# ruff: noqa: F722  (jaxtyping writes shapes as strings)

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from step_hrl.engines import key_values
from step_hrl.engines.prefixes import Prefix
from step_hrl.models.prefix_rows import rounded

PADDING_RATIO = 1.25
"""Prompts are prefilled together if the longest has at most this many times the new tokens of the shortest."""
PADDING_TOKENS = 48
"""So are prompts that need at most this many tokens of padding: a forward pass of their own would cost as much."""
LENGTH_MULTIPLE = 8
"""New tokens are padded to a multiple of this length; see :func:`~step_hrl.models.prefix_rows.rounded`."""


@dataclass(slots=True)
class Row:
    """One ask being answered, with at most ``limit`` tokens.

    ``episode`` identifies the episode, if there is one; ``uniforms`` holds a number in [0, 1) for each token to sample,
    and is empty for greedy decoding.
    """

    number: int
    prompt: list[int]
    limit: int
    temperature: float
    uniforms: list[float]
    episode: str | None = None
    completion: list[int] = field(default_factory=list[int])
    finished: bool = False

    @property
    def next_uniform(self) -> float:
        """The number that the next token is sampled with; 0 for rows that are finished or greedy."""
        return 0.0 if self.finished or not self.uniforms else self.uniforms[len(self.completion)]

    def append(self, token: int, stops: frozenset[int]) -> None:
        """Append a token; the row is finished at a stop token or at its limit."""
        self.completion.append(token)
        self.finished = token in stops or len(self.completion) >= self.limit


@dataclass(slots=True)
class Batch:
    """Rows decoded together, with the hidden states that predict their next tokens; prompts are padded on the left."""

    rows: list[Row]
    hidden: Float[Tensor, "rows width"]
    mask: Int[Tensor, "rows length"]
    cache: Any

    def drop_finished(self) -> None:
        """Remove the finished rows, and the padding that no other row needs."""
        kept = [index for index, row in enumerate(self.rows) if not row.finished]
        if len(kept) == len(self.rows):
            return
        indices = torch.tensor(kept, device=self.mask.device)
        start = int(self.mask[indices].amax(dim=0).argmax())
        self.rows = [self.rows[index] for index in kept]
        self.hidden, self.mask = self.hidden[indices], self.mask[indices, start:]
        key_values.select(self.cache, indices, start)


def concatenate(batches: Sequence[Batch]) -> Batch:
    """One batch of all rows, in order."""
    if len(batches) == 1:
        return batches[0]
    longest = max(batch.mask.shape[1] for batch in batches)
    return Batch(
        [row for batch in batches for row in batch.rows],
        torch.cat([batch.hidden for batch in batches]),
        torch.cat([nn.functional.pad(batch.mask, (longest - batch.mask.shape[1], 0)) for batch in batches]),
        key_values.concatenate([batch.cache for batch in batches]),
    )


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt to prefill, with what is known of its beginning."""

    row: Row
    prefix: Prefix | None

    @property
    def new(self) -> int:
        """Number of tokens whose keys and values are not known."""
        return len(self.row.prompt) - (len(self.prefix) if self.prefix else 0)


@dataclass(frozen=True, slots=True)
class Prefill:
    """The inputs of a forward pass over prompts, padded on the left, whose last tokens are computed.

    Of every row as many tokens are computed, also some that are known where another row has more new ones. A row's
    tokens therefore lie side by side, without a gap between what is known and what is new, as the masks of sliding
    windows require.
    """

    ids: Int[Tensor, "rows new"]
    mask: Int[Tensor, "rows length"]
    cache: Any


def prefill_inputs(prompts: Sequence[Prompt], pad: int, device: torch.device) -> Prefill:
    """Lay out prompts; ``pad`` is the padding token's id."""
    new = rounded(max(prompt.new for prompt in prompts), LENGTH_MULTIPLE)
    length = max(new, *(len(prompt.row.prompt) for prompt in prompts))
    ids = [[pad] * (new - len(prompt.row.prompt)) + prompt.row.prompt[-new:] for prompt in prompts]
    pads = torch.tensor([length - len(prompt.row.prompt) for prompt in prompts], device=device)
    mask = (torch.arange(length, device=device) >= pads[:, None]).long()
    known = [
        prompt.prefix.states[:, :, : max(0, len(prompt.row.prompt) - new)] if prompt.prefix else None
        for prompt in prompts
    ]
    return Prefill(torch.tensor(ids, device=device), mask, key_values.continuing(known, length - new, new))


def of_similar_length(prompts: Sequence[Prompt]) -> Iterator[Sequence[Prompt]]:
    """Group prompts, sorted by their new tokens; see ``PADDING_RATIO`` and ``PADDING_TOKENS``."""
    start, new = 0, 0
    for index, prompt in enumerate(prompts):
        padding = (index - start) * prompt.new - new
        if prompt.new > PADDING_RATIO * prompts[start].new and padding > PADDING_TOKENS:
            yield prompts[start:index]
            start, new = index, 0
        new += prompt.new
    yield prompts[start:]
