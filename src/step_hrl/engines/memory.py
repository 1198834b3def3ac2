"""A cache of answers: a greedy policy answers the same prompt the same way every time.

An agent that is stuck asks the same again and again, and so do two agents in the same situation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from step_hrl.engines.base import Answers, Exchange
from step_hrl.types import Ask, Role, Utterance

REMEMBERED = 50_000
"""Maximum number of answers kept; the oldest go first."""


def remembering(exchange: Exchange, is_drawn: Callable[[Ask], bool]) -> Exchange:
    """An exchange that passes each prompt of a role on once and answers repetitions from the cache.

    Only for engines whose answer follows from role and prompt, except where ``is_drawn`` says that it is sampled. A
    cached answer counts its tokens like any other. Its prompt counts as cached where the same episode has read it
    before, and in full where another episode has: the cost of an episode must not depend on which of the two is faster.
    """
    return _Remembering(exchange, is_drawn).exchange


_Key = tuple[Role, str, int | None]


class _Remembering:
    def __init__(self, exchange: Exchange, is_drawn: Callable[[Ask], bool]) -> None:
        self._exchange = exchange
        self._is_drawn = is_drawn
        self._known: dict[_Key, Utterance] = {}
        self._open: dict[int, _Key] = {}
        self._waiting: dict[_Key, list[int]] = {}
        self._asked = 0
        self._passed_on = 0

    def exchange(self, finished: Answers) -> list[Ask]:
        """Pass answers on to all asks that wait for them; return the asks whose answer is not known yet."""
        answered: list[tuple[int, Utterance | None]] = []
        for number, utterance in finished:
            answered += self._learned(self._open.pop(number), utterance)
        new: list[Ask] = []
        while True:
            asks, known = self._exchange(answered), list[tuple[int, Utterance | None]]()
            for number, ask in enumerate(asks, self._asked):
                key = (ask.role, ask.prompt, ask.seed if self._is_drawn(ask) else None)
                if key in self._known:
                    known.append((number, _recalled(self._known[key], ask)))
                elif key in self._waiting:
                    self._waiting[key].append(number)
                else:
                    self._waiting[key] = [number]
                    self._open[self._passed_on] = key
                    self._passed_on += 1
                    new.append(ask)
            self._asked += len(asks)
            if not known:
                return new
            answered = known

    def _learned(self, key: _Key, utterance: Utterance | None) -> list[tuple[int, Utterance | None]]:
        if utterance is not None:
            self._known[key] = utterance
        if len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]
        return [(number, utterance) for number in self._waiting.pop(key)]


def _recalled(utterance: Utterance, ask: Ask) -> Utterance:
    usage = utterance.usage
    return replace(utterance, usage=replace(usage, cached_tokens=usage.prompt_tokens)) if ask.is_repeat else utterance
