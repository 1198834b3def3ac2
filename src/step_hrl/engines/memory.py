"""A cache of answers, for greedy policies, which answer a prompt the same way every time.

Prompts repeat within an episode whose agent is stuck, and between episodes in the same situation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from step_hrl.engines.base import Answers, Exchange
from step_hrl.types import Ask, Role, Utterance

CACHE_SIZE = 50_000
"""Maximum number of cached answers; the oldest are dropped first."""


def with_cache(exchange: Exchange, is_sampled: Callable[[Ask], bool]) -> Exchange:
    """An exchange that passes on each prompt of a role once and answers repetitions from the cache.

    Only for engines whose answer is a function of role and prompt, except where ``is_sampled``. A cached answer counts
    its tokens like any other. Its prompt counts as cached if the same episode has read it before, and in full if only
    another episode has: the cost of an episode must not depend on the order in which episodes run.
    """
    return _CachedExchange(exchange, is_sampled).exchange


_Key = tuple[Role, str, int | None]


class _CachedExchange:
    def __init__(self, exchange: Exchange, is_sampled: Callable[[Ask], bool]) -> None:
        self._exchange = exchange
        self._is_sampled = is_sampled
        self._cache: dict[_Key, Utterance] = {}
        self._open: dict[int, _Key] = {}  # by the number of an ask that was passed on
        self._waiting: dict[_Key, list[int]] = {}
        self._asked = 0
        self._passed_on = 0

    def exchange(self, finished: Answers) -> list[Ask]:
        """Pass answers on to all asks that wait for them; return the asks that the cache cannot answer."""
        answered: list[tuple[int, Utterance | None]] = []
        for number, utterance in finished:
            answered += self._store(self._open.pop(number), utterance)
        new: list[Ask] = []
        while True:
            asks, cached = self._exchange(answered), list[tuple[int, Utterance | None]]()
            for number, ask in enumerate(asks, self._asked):
                key = (ask.role, ask.prompt, ask.seed if self._is_sampled(ask) else None)
                if key in self._cache:
                    cached.append((number, _with_cached_prompt(self._cache[key], ask)))
                elif key in self._waiting:
                    self._waiting[key].append(number)
                else:
                    self._waiting[key] = [number]
                    self._open[self._passed_on] = key
                    self._passed_on += 1
                    new.append(ask)
            self._asked += len(asks)
            if not cached:
                return new
            answered = cached

    def _store(self, key: _Key, utterance: Utterance | None) -> list[tuple[int, Utterance | None]]:
        """Cache an answer; return it with the number of each ask that waits for it."""
        if utterance is not None:
            self._cache[key] = utterance
        if len(self._cache) > CACHE_SIZE:
            del self._cache[next(iter(self._cache))]
        return [(number, utterance) for number in self._waiting.pop(key)]


def _with_cached_prompt(utterance: Utterance, ask: Ask) -> Utterance:
    usage = utterance.usage
    return replace(utterance, usage=replace(usage, cached_tokens=usage.prompt_tokens)) if ask.is_repeat else utterance
