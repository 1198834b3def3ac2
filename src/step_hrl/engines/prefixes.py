"""Prompts that are read only from where they differ from the episode's last one.

The prompts of an episode's decisions begin with what they have in common, so that the keys and values of its last
prompt are known for the beginning of the next one.
"""
# ruff: noqa: F722  (jaxtyping writes shapes as strings)

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from threading import Lock

from jaxtyping import Float
from torch import Tensor

from step_hrl.engines.base import Answers, Exchange
from step_hrl.models.prefix_rows import common_prefix
from step_hrl.types import Ask, Utterance


@dataclass(frozen=True, slots=True)
class Prefix:
    """Tokens at the beginning of a prompt, and their keys and values in all layers, alternately."""

    tokens: Sequence[int]
    states: Float[Tensor, "layers_twice heads tokens width"]

    def __len__(self) -> int:
        return len(self.tokens)


class PrefixStore:
    """The last prompt of each episode, for the ``capacity`` episodes that were the last to read one. Thread-safe."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._prompts: dict[str, Prefix] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._prompts)

    def find(self, episode: str | None, prompt: Sequence[int]) -> Prefix | None:
        """What is known of a prompt from the episode's last one, without the prompt's last token."""
        last = None if episode is None else self._prompts.get(episode)
        length = 0 if last is None else shared_length(last.tokens, prompt)
        if last is None or length == 0:
            return None
        return Prefix(last.tokens[:length], last.states[:, :, :length])

    def keep(self, episode: str, prompt: Prefix) -> None:
        """Replace the episode's last prompt; the prompt of the episode that has not read for longest is dropped."""
        with self._lock:
            self._prompts.pop(episode, None)
            self._prompts[episode] = prompt
            if len(self._prompts) > self.capacity:
                del self._prompts[next(iter(self._prompts))]


def shared_length(last: Sequence[int], prompt: Sequence[int]) -> int:
    """Number of tokens that two prompts have in common from their start, without the last token of ``prompt``.

    The last token is always computed, because its hidden state predicts the reply.

    >>> shared_length([5, 6, 7], [5, 6, 8, 9]), shared_length([5, 6, 7], [5, 6, 7])
    (2, 2)
    """
    return min(common_prefix(last, prompt), max(0, len(prompt) - 1))


def with_counts(exchange: Exchange, encode: Callable[[Sequence[str]], list[list[int]]], context: int) -> Exchange:
    """An exchange that counts as cached what each prompt has in common with the last one of its episode.

    The count is a function of the episode's own asks, though the engine may compute more: it depends neither on other
    episodes nor on which prompts are still stored. A prompt of ``context`` tokens or more is not read, so it is neither
    cached nor followed by a cached one; asks without a job belong to no episode.
    """
    return _CountingExchange(exchange, encode, context).exchange


class _CountingExchange:
    def __init__(self, exchange: Exchange, encode: Callable[[Sequence[str]], list[list[int]]], context: int) -> None:
        self._exchange = exchange
        self._encode = encode
        self._context = context
        self._last: dict[str, tuple[int, array[int]]] = {}
        self._counts: dict[int, int] = {}  # by the number of an ask that is not answered yet
        self._asked = 0

    def exchange(self, finished: Answers) -> Sequence[Ask]:
        """Pass answers on with their counts; return the exchange's asks."""
        asks = self._exchange([(number, self._counted(number, utterance)) for number, utterance in finished])
        prompts = self._encode([ask.prompt for ask in asks])
        for number, (ask, prompt) in enumerate(zip(asks, prompts, strict=True), self._asked):
            self._counts[number] = self._count(ask, prompt)
        self._asked += len(asks)
        return asks

    def _counted(self, number: int, utterance: Utterance | None) -> Utterance | None:
        count = self._counts.pop(number)
        if utterance is None:
            return None
        cached = max(count, utterance.usage.cached_tokens)
        return replace(utterance, usage=replace(utterance.usage, cached_tokens=cached))

    def _count(self, ask: Ask, prompt: Sequence[int]) -> int:
        if ask.job is None or len(prompt) >= self._context:
            return 0
        number, last = self._last.get(ask.job.id, (0, ()))
        self._last[ask.job.id] = (ask.number, array("i", prompt))
        # An episode that was started again has read nothing yet.
        return shared_length(last, prompt) if ask.number > number else 0
