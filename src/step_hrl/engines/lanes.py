"""A lane: rows that one thread decodes together, with continuous batching. Lanes share a model and known prefixes."""
# ruff: noqa: F722  (jaxtyping writes shapes as strings)

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from step_hrl.engines import key_values
from step_hrl.engines.batches import Batch, Prompt, Row, concatenate, of_similar_length, prefill_inputs
from step_hrl.engines.prefixes import Prefix, PrefixStore

COMPACTION_SHARE = 0.75
"""Finished rows are dropped when at most this share of a batch's rows is unfinished, because dropping copies the cache.
"""
TOKENS_PER_STEP = 4
"""Maximum number of tokens decoded in a step; a finished row ends it at once."""


class Tokens(Protocol):
    """The tokenizer of a model; see ``models.tokenization.LineTokenizer``."""

    pad: int
    stops: frozenset[int]

    def encode_prompts(self, prompts: Sequence[str]) -> list[list[int]]:
        """Token ids of each prompt."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The line of text of generated ids."""
        ...


class DecodingModel(Protocol):
    """What decoding needs of a model; see ``models.backbone.Backbone``."""

    @property
    def tokenizer(self) -> Tokens:
        """The tokenizer."""
        ...

    @property
    def device(self) -> torch.device:
        """The device that holds the weights."""
        ...

    @property
    def decoder(self) -> Any:
        """The Hugging Face model without its output head."""
        ...

    def logits(self, hidden: Float[Tensor, "rows width"]) -> Float[Tensor, "rows vocabulary"]:
        """Logits of the next token."""
        ...


class Lane:
    """Decodes rows of all roles together; rows join and leave between tokens."""

    def __init__(self, model: DecodingModel, known: PrefixStore, capacity: int, top_p: float) -> None:
        """At most ``capacity`` rows are decoded at once; ``known`` holds what their prompts may begin with."""
        self._model = model
        self._known = known
        self._capacity = capacity
        self._top_p = top_p
        self._batch: Batch | None = None

    @property
    def is_empty(self) -> bool:
        """Whether no row is being decoded."""
        return self._batch is None

    @property
    def room(self) -> int:
        """Number of rows that can join."""
        return self._capacity - (sum(not row.finished for row in self._batch.rows) if self._batch else 0)

    @torch.no_grad()  # which is a property of the thread
    def step(self, added: Sequence[Row]) -> list[Row]:
        """Let rows join, and decode until one is finished, or a few tokens; return the rows that are."""
        self._batch = self._add_rows(self._batch, added)
        finished: list[Row] = []
        for _ in range(TOKENS_PER_STEP):
            if finished or self._batch is None:
                break
            self._batch, finished = self._decode(self._batch)
        return finished

    def _add_rows(self, batch: Batch | None, added: Sequence[Row]) -> Batch | None:
        """Prefill rows and put them into the batch."""
        if not added:
            return batch
        if batch:
            batch.drop_finished()
        prompts = [Prompt(row, self._known.find(row.episode, row.prompt)) for row in added]
        groups = of_similar_length(sorted(prompts, key=lambda prompt: prompt.new))
        return concatenate([*([batch] if batch else []), *map(self._prefill, groups)])

    def _decode(self, batch: Batch) -> tuple[Batch | None, list[Row]]:
        """Decode a token of every row; return the batch (None if all rows are finished) and the newly finished rows."""
        running = [row for row in batch.rows if not row.finished]
        tokens = self._sample(self._model.logits(batch.hidden), batch.rows)
        for row, token in zip(batch.rows, _integers(tokens), strict=True):
            if not row.finished:
                row.append(token, self._model.tokenizer.stops)
        finished = [row for row in running if row.finished]
        if len(finished) == len(running):
            return None, finished
        if len(running) - len(finished) <= COMPACTION_SHARE * len(batch.rows):
            tokens = tokens[torch.tensor([not row.finished for row in batch.rows], device=tokens.device)]
            batch.drop_finished()
        batch.mask = torch.cat([batch.mask, batch.mask.new_ones(len(batch.rows), 1)], dim=1)
        batch.hidden = self._forward(tokens[:, None], batch.mask, batch.cache)
        return batch, finished

    def _prefill(self, prompts: Sequence[Prompt]) -> Batch:
        """Run the model on the new tokens of prompts that have similarly many, sorted by them."""
        inputs = prefill_inputs(prompts, self._model.tokenizer.pad, self._model.device)
        batch = Batch(
            [prompt.row for prompt in prompts],
            self._forward(inputs.ids, inputs.mask, inputs.cache),
            inputs.mask,
            inputs.cache,
        )
        if self._known.capacity:
            for index, row in enumerate(batch.rows):
                if row.episode is not None:
                    states = key_values.states_of(batch.cache, index, len(row.prompt))
                    self._known.keep(row.episode, Prefix(row.prompt, states))
        return batch

    def _forward(
        self, ids: Int[Tensor, "rows new"], mask: Int[Tensor, "rows length"], cache: Any
    ) -> Float[Tensor, "rows width"]:
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        outputs = self._model.decoder(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
        )
        return outputs.last_hidden_state[:, -1]

    def _sample(self, logits: Float[Tensor, "rows vocabulary"], rows: Sequence[Row]) -> Int[Tensor, " rows"]:
        """The next token of each row: the most likely one at temperature 0, else by nucleus sampling."""
        most_likely = logits.argmax(dim=-1)
        temperatures = torch.tensor([row.temperature for row in rows], device=logits.device)[:, None]
        greedy = temperatures[:, 0] == 0
        if greedy.all():
            return most_likely
        ordered, tokens = (logits / temperatures.where(temperatures > 0, 1.0)).softmax(dim=-1).sort(descending=True)
        # The most likely token is never excluded: the cumulative probability before it is 0.
        outside = ordered.cumsum(dim=-1) - ordered >= self._top_p
        cumulative = ordered.masked_fill(outside, 0.0).cumsum(dim=-1)
        uniforms = torch.tensor([row.next_uniform for row in rows], device=logits.device)[:, None]
        sampled = (cumulative <= uniforms * cumulative[:, -1:]).sum(dim=-1, keepdim=True)
        return torch.where(greedy, most_likely, tokens.gather(1, sampled.clamp(max=tokens.shape[1] - 1))[:, 0])


def _integers(values: Int[Tensor, " rows"]) -> list[int]:
    return cast(Any, values).tolist()
