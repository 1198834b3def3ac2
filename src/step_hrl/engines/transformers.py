"""An engine that decodes with a Hugging Face model in this process, with continuous batching of all roles' asks."""
# ruff: noqa: F722  (jaxtyping writes shapes as strings)

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import AbstractContextManager
from importlib.metadata import version
from typing import Any, Protocol, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from step_hrl.config import GenerationConfig, MixedPrecision, Quantization
from step_hrl.engines import key_values
from step_hrl.engines.base import Answers, Exchange
from step_hrl.engines.batches import Batch, Prompt, Row, concatenate, of_similar_length, prefill_inputs
from step_hrl.engines.memory import with_cache
from step_hrl.engines.prefixes import Prefix, PrefixStore, with_counts
from step_hrl.models.threads import leaving_cores
from step_hrl.types import Ask, Usage, Utterance

COMPACTION_SHARE = 0.75
"""Finished rows are dropped when at most this share of a batch's rows is unfinished, because dropping copies the cache.
"""
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

    def acting(self, choice: MixedPrecision, quantize: Quantization) -> AbstractContextManager[LanguageModel]:
        """A context for generation with a copy of the model, without dropout and gradients."""
        ...

    def logits(self, hidden: Float[Tensor, "rows width"]) -> Float[Tensor, "rows vocabulary"]:
        """Logits of the next token."""
        ...


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
            "quantize": self._config.quantize,
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
        record as an unreadable reply; no prompt is truncated. Until this method returns, greedy answers are cached, and
        so are the keys and values of each episode's last prompt, unless the model has layers of another kind.
        """
        config = self._config
        with self._model.acting(config.mixed_precision, config.quantize) as model, leaving_cores(self._worlds):
            is_plain = key_values.is_plain(model.decoder)
            if is_plain:
                exchange = with_counts(exchange, model.tokenizer.encode_prompts, model.context)
            if config.temperature == 0:
                exchange = with_cache(exchange, lambda ask: config.temperature_of(ask) > 0)
            _Decoding(model, config, self._seed, PrefixStore(config.batch_size if is_plain else 0)).serve(exchange)


class _Decoding:
    """Decodes the asks of one call of :meth:`TransformersEngine.serve`."""

    def __init__(self, model: LanguageModel, config: GenerationConfig, seed: int, known: PrefixStore) -> None:
        self._model = model
        self._config = config
        self._seed = seed
        self._known = known

    def serve(self, exchange: Exchange) -> None:
        """Answer asks until there are none."""
        batch: Batch | None = None
        waiting: list[Row] = []
        finished: list[Row] = []
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

    def _rows(self, asks: Sequence[Ask], first: int) -> list[Row]:
        prompts = self._model.tokenizer.encode_prompts([ask.prompt for ask in asks])
        limits = [
            min(self._max_new_tokens(ask), self._model.context - len(prompt))
            for ask, prompt in zip(asks, prompts, strict=True)
        ]
        return [
            Row(
                number,
                prompt,
                limit,
                self._config.temperature_of(ask),
                self._uniforms(ask, limit),
                ask.job.id if ask.job else None,
            )
            for number, (ask, prompt, limit) in enumerate(zip(asks, prompts, limits, strict=True), first)
        ]

    def _uniforms(self, ask: Ask, limit: int) -> list[float]:
        """A number in [0, 1) for each token of a reply, from the seeds alone; none for greedy decoding."""
        if self._config.temperature_of(ask) == 0:
            return []
        generator = random.Random(f"{self._seed} {ask.seed}")
        return [generator.random() for _ in range(limit)]

    def _max_new_tokens(self, ask: Ask) -> int:
        return getattr(self._config.max_new_tokens, ask.role.value)

    def _utterance(self, row: Row) -> Utterance:
        usage = Usage(prompt_tokens=len(row.prompt), completion_tokens=len(row.completion))
        return Utterance(self._model.tokenizer.decode(row.completion), usage)

    def _add_rows(self, batch: Batch | None, waiting: list[Row]) -> Batch | None:
        """Move waiting rows to the batch while it has room for them."""
        running = sum(not row.finished for row in batch.rows) if batch else 0
        room = self._config.batch_size - running
        added = [Prompt(row, self._known.find(row.episode, row.prompt)) for row in waiting[:room]]
        del waiting[:room]
        if not added:
            return batch
        if batch:
            batch.drop_finished()
        groups = of_similar_length(sorted(added, key=lambda prompt: prompt.new))
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
        outside = ordered.cumsum(dim=-1) - ordered >= self._config.top_p
        cumulative = ordered.masked_fill(outside, 0.0).cumsum(dim=-1)
        uniforms = torch.tensor([row.next_uniform for row in rows], device=logits.device)[:, None]
        sampled = (cumulative <= uniforms * cumulative[:, -1:]).sum(dim=-1, keepdim=True)
        return torch.where(greedy, most_likely, tokens.gather(1, sampled.clamp(max=tokens.shape[1] - 1))[:, 0])


def _integers(values: Int[Tensor, " rows"]) -> list[int]:
    return cast(Any, values).tolist()
