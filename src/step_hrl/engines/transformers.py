"""An engine that decodes with a Hugging Face model in this process, many asks of mixed roles at once."""
# ruff: noqa: F722  (jaxtyping writes shapes as strings)

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import count
from typing import Any, Protocol, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from step_hrl.config import GenerationConfig, MixedPrecision
from step_hrl.engines import key_values
from step_hrl.types import Ask, Usage, Utterance

PADDING_TOLERATED = 1.25
"""Prompts are read together while the longest is at most this many times as long as the shortest."""
DROPPED_AT = 0.75
"""Finished rows are dropped when no more than this share of the rows still goes on: dropping copies the cache."""


class Tokens(Protocol):
    """How an engine turns text into tokens and back; see ``models.tokenization.LineTokenizer``."""

    pad: int
    stops: frozenset[int]

    def encode_prompts(self, prompts: Sequence[str]) -> list[list[int]]:
        """Token ids of each prompt."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """The line that generated ids say."""
        ...


class LanguageModel(Protocol):
    """What an engine needs of a model; see ``models.backbone.Backbone``."""

    name: str
    context: int
    tokenizer: Tokens
    training: bool

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        ...

    @property
    def decoder(self) -> Any:
        """The Hugging Face model below its output head."""
        ...

    def autocast(self, choice: MixedPrecision) -> torch.autocast:
        """A context that computes in the precision chosen."""
        ...

    def logits(self, hidden: Float[Tensor, "rows width"]) -> Float[Tensor, "rows vocabulary"]:
        """Scores of the next token."""
        ...

    def train(self, mode: bool = True) -> Any:
        """Switch dropout on or off."""
        ...


@dataclass(slots=True)
class _Row:
    """One ask being answered; ``limit`` is the most tokens its answer may have, ``seed`` what they are drawn from."""

    prompt: list[int]
    limit: int
    seed: int
    said: list[int] = field(default_factory=list[int])


class TransformersEngine:
    """Batched generation, greedy or sampled; an utterance ends with its line."""

    def __init__(self, model: LanguageModel, config: GenerationConfig, seed: int = 0) -> None:
        """Answer with a model. Sampled replies follow from this seed and their ask's."""
        self._model = model
        self._config = config
        self._seed = seed

    def provenance(self) -> dict[str, str]:
        """What a result must say of the engine."""
        return {
            "engine": "transformers",
            "model": self._model.name,
            "temperature": str(self._config.temperature),
            "top_p": str(self._config.top_p),
            "mixed_precision": self._config.mixed_precision,
            "sampling_seed": str(self._seed),
            "transformers": version("transformers"),
            "torch": version("torch"),
        }

    @torch.inference_mode()
    def generate(self, asks: Sequence[Ask]) -> list[Utterance]:
        """Answer every ask, in order, with one line of text (no line end) and the tokens it cost.

        A prompt that leaves the model's context no room for a reply is answered by an empty line: nothing is cut, and
        the agent sees an unreadable reply.
        """
        prompts = self._model.tokenizer.encode_prompts([ask.prompt for ask in asks])
        rows = [
            _Row(prompt, min(self._most_tokens(ask), self._model.context - len(prompt)), ask.seed)
            for ask, prompt in zip(asks, prompts, strict=True)
        ]
        fitting = sorted((row for row in rows if row.limit > 0), key=lambda row: len(row.prompt))
        was_training = self._model.training
        self._model.train(False)
        with self._model.autocast(self._config.mixed_precision):
            for start in range(0, len(fitting), self._config.batch_size):
                self._answer(fitting[start : start + self._config.batch_size])
        self._model.train(was_training)
        return [self._utterance(row) for row in rows]

    def _most_tokens(self, ask: Ask) -> int:
        return getattr(self._config.max_new_tokens, ask.role.value)

    def _utterance(self, row: _Row) -> Utterance:
        usage = Usage(prompt_tokens=len(row.prompt), completion_tokens=len(row.said))
        return Utterance(self._model.tokenizer.decode(row.said), usage)

    def _answer(self, rows: list[_Row]) -> None:
        """Decode one batch to its end, dropping rows from it as they finish."""
        hidden, mask, cache = self._read(rows)
        draws = self._draws(rows)
        for place in count():
            chosen = self._choose(self._model.logits(hidden), draws[:, place])
            going = [place for place, token in enumerate(_integers(chosen)) if self._goes_on(rows[place], token)]
            if not going:
                return
            if len(going) <= DROPPED_AT * len(rows):
                kept = torch.tensor(going, device=mask.device)
                rows = [rows[place] for place in going]
                cache.batch_select_indices(kept)
                mask, chosen, draws = mask[kept], chosen[kept], draws[kept]
            mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
            hidden = self._forward(chosen[:, None], mask, cache)

    def _goes_on(self, row: _Row, token: int) -> bool:
        """Note what a row says next, unless it has finished; whether it has more to say."""
        stops = self._model.tokenizer.stops
        if len(row.said) == row.limit or (row.said and row.said[-1] in stops):
            return False
        row.said.append(token)
        return token not in stops and len(row.said) < row.limit

    def _read(self, rows: Sequence[_Row]) -> tuple[Float[Tensor, "rows width"], Int[Tensor, "rows length"], Any]:
        """Read prompts, those of similar length together; their last hidden states, joint mask and joint cache."""
        longest = len(rows[-1].prompt)
        hidden: list[Tensor] = []
        masks: list[Tensor] = []
        caches: list[Any] = []
        for some in _of_similar_length(rows):
            length = len(some[-1].prompt)
            pads = [length - len(row.prompt) for row in some]
            ids = [[*([self._model.tokenizer.pad] * pad), *row.prompt] for pad, row in zip(pads, some, strict=True)]
            positions = torch.arange(longest, device=self._model.device) - (longest - length)
            mask = (positions >= torch.tensor(pads, device=self._model.device)[:, None]).long()
            cache: Any = key_values.empty()
            inputs = torch.tensor(ids, device=self._model.device)
            hidden.append(self._forward(inputs, mask[:, longest - length :], cache))
            masks.append(mask)
            caches.append(cache)
        return torch.cat(hidden), torch.cat(masks), key_values.joined(caches)

    def _forward(
        self, ids: Int[Tensor, "rows new"], mask: Int[Tensor, "rows length"], cache: Any
    ) -> Float[Tensor, "rows width"]:
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        outputs = self._model.decoder(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
        )
        return outputs.last_hidden_state[:, -1]

    def _draws(self, rows: Sequence[_Row]) -> Float[Tensor, "rows tokens"]:
        """A number in [0, 1) for each token that may be said, from the seeds of engine and ask alone."""
        longest = max(row.limit for row in rows)
        if self._config.temperature == 0:
            return torch.zeros(len(rows), longest, device=self._model.device)
        seeds = [zlib.crc32(f"{self._seed} {row.seed}".encode()) for row in rows]
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        return torch.stack([torch.rand(longest, generator=each) for each in generators]).to(self._model.device)

    def _choose(self, logits: Float[Tensor, "rows vocabulary"], draws: Float[Tensor, " rows"]) -> Int[Tensor, " rows"]:
        if self._config.temperature == 0:
            return logits.argmax(dim=-1)
        ordered, tokens = (logits / self._config.temperature).softmax(dim=-1).sort(dim=-1, descending=True)
        # The most likely token always stays: what lies before it sums to 0.
        outside = ordered.cumsum(dim=-1) - ordered >= self._config.top_p
        reached = ordered.masked_fill(outside, 0.0).cumsum(dim=-1)
        picked = (reached <= draws[:, None] * reached[:, -1:]).sum(dim=-1, keepdim=True)
        return tokens.gather(1, picked.clamp(max=tokens.shape[1] - 1))[:, 0]


def _of_similar_length(rows: Sequence[_Row]) -> Iterator[Sequence[_Row]]:
    """Cut rows, sorted by the length of their prompts, where padding would grow too much."""
    start = 0
    for place, row in enumerate(rows):
        if len(row.prompt) > PADDING_TOLERATED * len(rows[start].prompt):
            yield rows[start:place]
            start = place
    yield rows[start:]


def _integers(values: Int[Tensor, " rows"]) -> list[int]:
    return cast(Any, values).tolist()
