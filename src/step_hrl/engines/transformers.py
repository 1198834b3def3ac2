"""An engine that decodes with a Hugging Face model in this process, with continuous batching of all roles' asks."""
# ruff: noqa: F722  (jaxtyping writes shapes as strings)

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Protocol, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from step_hrl.config import GenerationConfig, MixedPrecision
from step_hrl.engines import key_values
from step_hrl.engines.base import Answers, Exchange
from step_hrl.engines.memory import with_cache
from step_hrl.models.prefix_rows import rounded
from step_hrl.models.threads import leaving_cores
from step_hrl.types import Ask, Usage, Utterance

PADDING_RATIO = 1.25
"""Prompts are prefilled together if the longest has at most this many times the tokens of the shortest."""
COMPACTION_SHARE = 0.75
"""Finished rows are dropped when at most this share of a batch's rows is unfinished, because dropping copies the cache.
"""
LENGTH_MULTIPLE = 32
"""Prompts are padded to a multiple of this length; see :func:`~step_hrl.models.prefix_rows.rounded`."""
TOKENS_PER_POLL = 4
"""Maximum number of tokens decoded before the exchange is called again; a finished row calls it at once."""


class Tokens(Protocol):
    """The tokenizer of an engine; see ``models.tokenization.LineTokenizer``."""

    pad: int
    stops: frozenset[int]

    def encode_prompts(self, prompts: Sequence[str]) -> list[list[int]]:
        """Token ids of each prompt."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The line of text of generated ids."""
        ...


class LanguageModel(Protocol):
    """The model of an engine; see ``models.backbone.Backbone``."""

    name: str
    context: int

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

    def acting(self, choice: MixedPrecision) -> AbstractContextManager[None]:
        """A context for generation in the chosen precision, without dropout and gradients."""
        ...

    def logits(self, hidden: Float[Tensor, "rows width"]) -> Float[Tensor, "rows vocabulary"]:
        """Logits of the next token."""
        ...


@dataclass(slots=True)
class _Row:
    """One ask being answered, with at most ``limit`` tokens.

    ``uniforms`` holds a number in [0, 1) for each token to sample; it is empty for greedy decoding.
    """

    number: int
    prompt: list[int]
    limit: int
    temperature: float
    uniforms: list[float]
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
class _Batch:
    """Rows decoded together, with the hidden states that predict their next tokens; prompts are padded on the left."""

    rows: list[_Row]
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


class TransformersEngine:
    """Batched generation, greedy or sampled, of one line per ask."""

    def __init__(self, model: LanguageModel, config: GenerationConfig, seed: int = 0, *, worlds: int = 0) -> None:
        """Generate with a model. A sampled reply is a function of this seed, the ask's seed and the prompt.

        ``worlds`` is the number of other processes that need a core each.
        """
        self._model = model
        self._config = config
        self._seed = seed
        self._worlds = worlds

    def provenance(self) -> dict[str, str]:
        """See :class:`~step_hrl.engines.base.Engine`."""
        return {
            "engine": "transformers",
            "model": self._model.name,
            "temperature": str(self._config.temperature),
            "repeat_temperature": str(self._config.repeat_temperature),
            "top_p": str(self._config.top_p),
            "mixed_precision": self._config.mixed_precision,
            "sampling_seed": str(self._seed),
            "transformers": version("transformers"),
            "torch": version("torch"),
        }

    def generate(self, asks: Sequence[Ask]) -> list[Utterance]:
        """Answer every ask, in order; see :meth:`serve`."""
        pending = [asks]
        answers: dict[int, Utterance] = {}

        def exchange(finished: Answers) -> Sequence[Ask]:
            answers.update((number, utterance) for number, utterance in finished if utterance is not None)
            return pending.pop() if pending else ()

        self.serve(exchange)
        return [answers[number] for number in range(len(asks))]

    def serve(self, exchange: Exchange) -> None:
        """Answer asks as they come; see :class:`~step_hrl.engines.base.Engine`.

        A prompt that leaves no room for a reply in the model's context is answered by an empty line, which agents
        record as an unreadable reply; no prompt is truncated. Greedy answers are cached until this method returns.
        """
        with self._model.acting(self._config.mixed_precision), leaving_cores(self._worlds):
            greedy = self._config.temperature == 0
            self._serve(with_cache(exchange, self._is_sampled) if greedy else exchange)

    def _serve(self, exchange: Exchange) -> None:
        batch: _Batch | None = None
        waiting: list[_Row] = []
        finished: list[_Row] = []
        asked = 0
        while True:
            asks = exchange([(row.number, self._utterance(row)) for row in finished])
            waiting += self._rows(asks, asked)
            asked += len(asks)
            finished = [row for row in waiting if row.limit <= 0]
            waiting = [row for row in waiting if row.limit > 0]
            if batch is None and not waiting and not finished:
                return
            batch = self._add_rows(batch, waiting)
            for _ in range(TOKENS_PER_POLL):
                if finished or batch is None:
                    break
                batch, finished = self._decode(batch)

    def _rows(self, asks: Sequence[Ask], first: int) -> list[_Row]:
        prompts = self._model.tokenizer.encode_prompts([ask.prompt for ask in asks])
        limits = [
            min(self._max_new_tokens(ask), self._model.context - len(prompt))
            for ask, prompt in zip(asks, prompts, strict=True)
        ]
        return [
            _Row(number, prompt, limit, self._config.temperature_of(ask), self._uniforms(ask, limit))
            for number, (ask, prompt, limit) in enumerate(zip(asks, prompts, limits, strict=True), first)
        ]

    def _uniforms(self, ask: Ask, limit: int) -> list[float]:
        """A number in [0, 1) for each token of a reply, from the seeds alone; none for greedy decoding."""
        if not self._is_sampled(ask):
            return []
        generator = random.Random(f"{self._seed} {ask.seed}")
        return [generator.random() for _ in range(limit)]

    def _is_sampled(self, ask: Ask) -> bool:
        return self._config.temperature_of(ask) > 0

    def _max_new_tokens(self, ask: Ask) -> int:
        return getattr(self._config.max_new_tokens, ask.role.value)

    def _utterance(self, row: _Row) -> Utterance:
        usage = Usage(prompt_tokens=len(row.prompt), completion_tokens=len(row.completion))
        return Utterance(self._model.tokenizer.decode(row.completion), usage)

    def _add_rows(self, batch: _Batch | None, waiting: list[_Row]) -> _Batch | None:
        """Move waiting rows to the batch while it has room for them."""
        running = sum(not row.finished for row in batch.rows) if batch else 0
        room = self._config.batch_size - running
        added = sorted(waiting[:room], key=lambda row: len(row.prompt))
        del waiting[:room]
        if not added:
            return batch
        if batch:
            batch.drop_finished()
        return _concatenate([*([batch] if batch else []), *map(self._prefill, _of_similar_length(added))])

    def _decode(self, batch: _Batch) -> tuple[_Batch | None, list[_Row]]:
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

    def _prefill(self, rows: Sequence[_Row]) -> _Batch:
        """Run the model on prompts of similar length, sorted by it."""
        length = rounded(len(rows[-1].prompt), LENGTH_MULTIPLE)
        pads = [length - len(row.prompt) for row in rows]
        ids = [[*([self._model.tokenizer.pad] * pad), *row.prompt] for pad, row in zip(pads, rows, strict=True)]
        device = self._model.device
        mask = (torch.arange(length, device=device) >= torch.tensor(pads, device=device)[:, None]).long()
        cache = key_values.empty()
        return _Batch(list(rows), self._forward(torch.tensor(ids, device=device), mask, cache), mask, cache)

    def _forward(
        self, ids: Int[Tensor, "rows new"], mask: Int[Tensor, "rows length"], cache: Any
    ) -> Float[Tensor, "rows width"]:
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        outputs = self._model.decoder(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
        )
        return outputs.last_hidden_state[:, -1]

    def _sample(self, logits: Float[Tensor, "rows vocabulary"], rows: Sequence[_Row]) -> Int[Tensor, " rows"]:
        """The next token of each row: the most likely one at temperature 0, else by nucleus sampling."""
        most_likely = logits.argmax(dim=-1)
        temperatures = torch.tensor([row.temperature for row in rows], device=logits.device)[:, None]
        greedy = temperatures[:, 0] == 0
        if greedy.all():
            return most_likely
        ordered, tokens = (logits / temperatures.where(temperatures > 0, 1.0)).softmax(dim=-1).sort(descending=True)
        # The most likely token is never excluded: the cumulative probability before it is 0.
        outside = ordered.cumsum(dim=-1) - ordered >= self._config.top_p
        cumulative = ordered.masked_fill(outside, 0.0).cumsum(dim=-1)
        uniforms = torch.tensor([row.next_uniform for row in rows], device=logits.device)[:, None]
        sampled = (cumulative <= uniforms * cumulative[:, -1:]).sum(dim=-1, keepdim=True)
        return torch.where(greedy, most_likely, tokens.gather(1, sampled.clamp(max=tokens.shape[1] - 1))[:, 0])


def _concatenate(batches: Sequence[_Batch]) -> _Batch:
    if len(batches) == 1:
        return batches[0]
    longest = max(batch.mask.shape[1] for batch in batches)
    return _Batch(
        [row for batch in batches for row in batch.rows],
        torch.cat([batch.hidden for batch in batches]),
        torch.cat([nn.functional.pad(batch.mask, (longest - batch.mask.shape[1], 0)) for batch in batches]),
        key_values.concatenate([batch.cache for batch in batches]),
    )


def _of_similar_length(rows: Sequence[_Row]) -> Iterator[Sequence[_Row]]:
    """Group rows, sorted by the length of their prompts, so that padding stays within ``PADDING_RATIO``."""
    start = 0
    for index, row in enumerate(rows):
        if len(row.prompt) > PADDING_RATIO * len(rows[start].prompt):
            yield rows[start:index]
            start = index
    yield rows[start:]


def _integers(values: Int[Tensor, " rows"]) -> list[int]:
    return cast(Any, values).tolist()
