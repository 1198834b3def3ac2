"""An engine that decodes with a Hugging Face model in this process, with continuous batching of all roles' asks."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from importlib.metadata import version
from typing import Protocol

import torch

from step_hrl.config import GenerationConfig, MixedPrecision, Quantization
from step_hrl.engines import key_values
from step_hrl.engines.base import Answers, Exchange
from step_hrl.engines.batches import Row
from step_hrl.engines.lanes import DecodingModel, Lane
from step_hrl.engines.memory import with_cache
from step_hrl.engines.prefixes import PrefixStore, with_counts
from step_hrl.types import Ask, Usage, Utterance

ROWS_PER_LANE = 8
"""A lane reads all weights for each token of its rows: with fewer rows than this, cores work on one lane together."""


class LanguageModel(DecodingModel, Protocol):
    """The model of an engine; see ``models.backbone.Backbone``."""

    name: str
    context: int

    def acting(self, choice: MixedPrecision, quantize: Quantization) -> AbstractContextManager[LanguageModel]:
        """A context for generation with a copy of the model, without dropout and gradients."""
        ...


class TransformersEngine:
    """Batched generation, greedy or sampled, of one line per ask."""

    def __init__(self, model: LanguageModel, config: GenerationConfig, seed: int = 0) -> None:
        """Generate with a model. A sampled reply is a function of this seed, the ask's seed and the prompt."""
        self._model = model
        self._config = config
        self._seed = seed

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
        with self._model.acting(config.mixed_precision, config.quantize) as model:
            is_plain = key_values.is_plain(model.decoder)
            if is_plain:
                exchange = with_counts(exchange, model.tokenizer.encode_prompts, model.context)
            if config.temperature == 0:
                exchange = with_cache(exchange, lambda ask: config.temperature_of(ask) > 0)
            known = PrefixStore(config.batch_size if is_plain else 0)
            _Decoding(model, config, self._seed, known).serve(exchange)


class _Decoding:
    """Decodes the asks of one call of :meth:`TransformersEngine.serve`."""

    def __init__(self, model: LanguageModel, config: GenerationConfig, seed: int, known: PrefixStore) -> None:
        self._model = model
        self._config = config
        self._seed = seed
        cores = torch.get_num_threads() if model.device.type == "cpu" else 1
        lanes = max(1, min(cores, config.batch_size // ROWS_PER_LANE))
        capacity = math.ceil(config.batch_size / lanes)
        self._lanes = [Lane(model, known, capacity, config.top_p) for _ in range(lanes)]
        self._threads = cores // lanes

    def serve(self, exchange: Exchange) -> None:
        """Answer asks until there are none. Only this thread calls the exchange, whenever a lane has made a step."""
        idle, working = list(self._lanes), dict[Future[list[Row]], Lane]()
        waiting: list[Row] = []
        finished: list[Row] = []
        asked = 0
        with ThreadPoolExecutor(len(idle), initializer=torch.set_num_threads, initargs=(self._threads,)) as pool:
            while True:
                asks = exchange([(row.number, self._utterance(row)) for row in finished])
                rows = self._rows(asks, asked)
                asked += len(asks)
                finished = [row for row in rows if row.limit <= 0]
                waiting += [row for row in rows if row.limit > 0]
                for left, lane in zip(range(len(idle), 0, -1), list(idle), strict=True):
                    share = min(lane.room, math.ceil(len(waiting) / left))
                    added, waiting = waiting[:share], waiting[share:]
                    if added or not lane.is_empty:
                        working[pool.submit(lane.step, added)] = lane
                        idle.remove(lane)
                if finished:
                    continue
                if not working:
                    return
                for step in wait(working, return_when=FIRST_COMPLETED).done:
                    idle.append(working.pop(step))
                    finished += step.result()

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
