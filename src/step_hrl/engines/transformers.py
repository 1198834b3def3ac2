"""An engine that decodes with a Hugging Face model in this process, many asks of mixed roles at once."""
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
from step_hrl.engines.memory import remembering
from step_hrl.models.threads import leaving_cores
from step_hrl.types import Ask, Usage, Utterance

PADDING_TOLERATED = 1.25
"""Prompts are read together while the longest is at most this many times as long as the shortest."""
DROPPED_AT = 0.75
"""Finished rows are dropped when no more than this share of the rows still goes on: dropping copies the cache."""
LENGTH_MULTIPLE = 32
"""Prompts are padded to a multiple of so many tokens."""
TOKENS_BETWEEN = 4
"""Most tokens said between two looks for more asks; a finished line brings the next look forward."""


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

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        ...

    @property
    def decoder(self) -> Any:
        """The Hugging Face model below its output head."""
        ...

    def acting(self, choice: MixedPrecision) -> AbstractContextManager[None]:
        """A context to generate in, in the precision chosen: no dropout, no gradients."""
        ...

    def logits(self, hidden: Float[Tensor, "rows width"]) -> Float[Tensor, "rows vocabulary"]:
        """Scores of the next token."""
        ...


@dataclass(slots=True)
class _Row:
    """One ask being answered; ``limit`` is the most tokens its answer may have, ``draws`` what they are drawn by."""

    number: int
    prompt: list[int]
    limit: int
    temperature: float
    draws: list[float]
    said: list[int] = field(default_factory=list[int])
    finished: bool = False

    @property
    def next_draw(self) -> float:
        """What the next token is drawn by; a finished row says nothing more, and a greedy one draws nothing."""
        return 0.0 if self.finished or not self.draws else self.draws[len(self.said)]

    def say(self, token: int, stops: frozenset[int]) -> None:
        """Note what comes next."""
        self.said.append(token)
        self.finished = token in stops or len(self.said) >= self.limit


@dataclass(slots=True)
class _Batch:
    """Rows decoded together, with the hidden states that say their next tokens; prompts are padded on the left."""

    rows: list[_Row]
    hidden: Float[Tensor, "rows width"]
    mask: Int[Tensor, "rows length"]
    cache: Any

    def drop_finished(self) -> None:
        """Forget the rows that have finished, and the padding that no other row needs."""
        kept = [place for place, row in enumerate(self.rows) if not row.finished]
        if len(kept) == len(self.rows):
            return
        places = torch.tensor(kept, device=self.mask.device)
        start = int(self.mask[places].amax(dim=0).argmax())
        self.rows = [self.rows[place] for place in kept]
        self.hidden, self.mask = self.hidden[places], self.mask[places, start:]
        key_values.narrow(self.cache, places, start)


class TransformersEngine:
    """Batched generation, greedy or sampled; an utterance ends with its line."""

    def __init__(self, model: LanguageModel, config: GenerationConfig, seed: int = 0, *, worlds: int = 0) -> None:
        """Answer with a model. Sampled replies follow from this seed and their ask's.

        ``worlds`` is the number of processes beside this one that need a core each.
        """
        self._model = model
        self._config = config
        self._seed = seed
        self._worlds = worlds

    def provenance(self) -> dict[str, str]:
        """What a result must say of the engine."""
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
        brought = [asks]
        answers: dict[int, Utterance] = {}

        def exchange(finished: Answers) -> Sequence[Ask]:
            answers.update((number, utterance) for number, utterance in finished if utterance is not None)
            return brought.pop() if brought else ()

        self.serve(exchange)
        return [answers[number] for number in range(len(asks))]

    def serve(self, exchange: Exchange) -> None:
        """Answer asks as they come; see :class:`~step_hrl.engines.base.Engine`.

        A prompt that leaves the model's context no room for a reply is answered by an empty line: nothing is cut, and
        the agent sees an unreadable reply. Greedy answers are remembered until all is answered.
        """
        with self._model.acting(self._config.mixed_precision), leaving_cores(self._worlds):
            greedy = self._config.temperature == 0
            self._serve(remembering(exchange, self._is_drawn) if greedy else exchange)

    def _serve(self, exchange: Exchange) -> None:
        batch: _Batch | None = None
        waiting: list[_Row] = []
        finished: list[_Row] = []
        taken = 0
        while True:
            asks = exchange([(row.number, self._utterance(row)) for row in finished])
            waiting += self._rows(asks, taken)
            taken += len(asks)
            finished = [row for row in waiting if row.limit <= 0]
            waiting = [row for row in waiting if row.limit > 0]
            if batch is None and not waiting and not finished:
                return
            batch = self._join(batch, waiting)
            for _ in range(TOKENS_BETWEEN):
                if finished or batch is None:
                    break
                batch, finished = self._say(batch)

    def _rows(self, asks: Sequence[Ask], first: int) -> list[_Row]:
        prompts = self._model.tokenizer.encode_prompts([ask.prompt for ask in asks])
        limits = [
            min(self._most_tokens(ask), self._model.context - len(prompt))
            for ask, prompt in zip(asks, prompts, strict=True)
        ]
        return [
            _Row(number, prompt, limit, self._config.temperature_of(ask), self._draws(ask, limit))
            for number, (ask, prompt, limit) in enumerate(zip(asks, prompts, limits, strict=True), first)
        ]

    def _draws(self, ask: Ask, limit: int) -> list[float]:
        """A number in [0, 1) for each token a reply may have, whatever else is said; none are needed to be greedy."""
        if not self._is_drawn(ask):
            return []
        draw = random.Random(f"{self._seed} {ask.seed}")
        return [draw.random() for _ in range(limit)]

    def _is_drawn(self, ask: Ask) -> bool:
        return self._config.temperature_of(ask) > 0

    def _most_tokens(self, ask: Ask) -> int:
        return getattr(self._config.max_new_tokens, ask.role.value)

    def _utterance(self, row: _Row) -> Utterance:
        usage = Usage(prompt_tokens=len(row.prompt), completion_tokens=len(row.said))
        return Utterance(self._model.tokenizer.decode(row.said), usage)

    def _join(self, batch: _Batch | None, waiting: list[_Row]) -> _Batch | None:
        """Let waiting rows (taken from the list) join the batch while there is room."""
        going = sum(not row.finished for row in batch.rows) if batch else 0
        room = self._config.batch_size - going
        joining = sorted(waiting[:room], key=lambda row: len(row.prompt))
        del waiting[:room]
        if not joining:
            return batch
        if batch:
            batch.drop_finished()
        return _together([*([batch] if batch else []), *(self._read(some) for some in _of_similar_length(joining))])

    def _say(self, batch: _Batch) -> tuple[_Batch | None, list[_Row]]:
        """Say one more token of every row: what remains to be said, and the rows that this finished."""
        going = [row for row in batch.rows if not row.finished]
        chosen = self._choose(self._model.logits(batch.hidden), batch.rows)
        for row, token in zip(batch.rows, _integers(chosen), strict=True):
            if not row.finished:
                row.say(token, self._model.tokenizer.stops)
        finished = [row for row in going if row.finished]
        if len(finished) == len(going):
            return None, finished
        if len(going) - len(finished) <= DROPPED_AT * len(batch.rows):
            chosen = chosen[torch.tensor([not row.finished for row in batch.rows], device=chosen.device)]
            batch.drop_finished()
        batch.mask = torch.cat([batch.mask, batch.mask.new_ones(len(batch.rows), 1)], dim=1)
        batch.hidden = self._forward(chosen[:, None], batch.mask, batch.cache)
        return batch, finished

    def _read(self, rows: Sequence[_Row]) -> _Batch:
        """Read prompts of similar length, the longest one last."""
        # Kernels compile for each new shape, which takes longer than to run them: shapes must come again.
        length = -(-len(rows[-1].prompt) // LENGTH_MULTIPLE) * LENGTH_MULTIPLE
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

    def _choose(self, logits: Float[Tensor, "rows vocabulary"], rows: Sequence[_Row]) -> Int[Tensor, " rows"]:
        likeliest = logits.argmax(dim=-1)
        temperatures = torch.tensor([row.temperature for row in rows], device=logits.device)[:, None]
        greedy = temperatures[:, 0] == 0
        if greedy.all():
            return likeliest
        ordered, tokens = (logits / temperatures.where(temperatures > 0, 1.0)).softmax(dim=-1).sort(descending=True)
        # The most likely token always stays: what lies before it sums to 0.
        outside = ordered.cumsum(dim=-1) - ordered >= self._config.top_p
        reached = ordered.masked_fill(outside, 0.0).cumsum(dim=-1)
        draws = torch.tensor([row.next_draw for row in rows], device=logits.device)[:, None]
        picked = (reached <= draws * reached[:, -1:]).sum(dim=-1, keepdim=True)
        return torch.where(greedy, likeliest, tokens.gather(1, picked.clamp(max=tokens.shape[1] - 1))[:, 0])


def _together(parts: Sequence[_Batch]) -> _Batch:
    if len(parts) == 1:
        return parts[0]
    longest = max(part.mask.shape[1] for part in parts)
    return _Batch(
        [row for part in parts for row in part.rows],
        torch.cat([part.hidden for part in parts]),
        torch.cat([nn.functional.pad(part.mask, (longest - part.mask.shape[1], 0)) for part in parts]),
        key_values.joined([part.cache for part in parts]),
    )


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
