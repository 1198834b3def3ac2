"""Answers remembered while they are being asked for: a greedy policy says the same to the same prompt.

Agents that are stuck ask the same again and again, and so do those that meet in the same place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from step_hrl.engines.base import Exchange
from step_hrl.types import Ask, Role, Utterance

REMEMBERED = 50_000
"""Most answers kept; the oldest go first."""


def remembering(exchange: Exchange, is_drawn: Callable[[Ask], bool]) -> Exchange:
    """An exchange that brings each prompt of a role once, and answers it itself when it is asked again.

    Only for engines whose answer follows from role and prompt, but for what ``is_drawn``. A remembered answer counts
    its tokens like any other. Its prompt counts as cached where the episode itself has come to it before, and in full
    where another has: what an episode costs must not depend on which of the two was faster.
    """
    return _Remembering(exchange, is_drawn).exchange


_Key = tuple[Role, str, int | None]


class _Remembering:
    def __init__(self, exchange: Exchange, is_drawn: Callable[[Ask], bool]) -> None:
        self._exchange = exchange
        self._is_drawn = is_drawn
        self._known: dict[_Key, Utterance] = {}
        self._being_answered: dict[int, _Key] = {}
        self._waiting: dict[_Key, list[int]] = {}
        self._asked = 0
        self._brought = 0

    def exchange(self, finished: Sequence[tuple[int, Utterance]]) -> list[Ask]:
        """Pass answers on to all who wait for them; bring what is not known yet."""
        answered: list[tuple[int, Utterance]] = []
        for number, utterance in finished:
            answered += self._learnt(self._being_answered.pop(number), utterance)
        new: list[Ask] = []
        while True:
            asks, known = self._exchange(answered), list[tuple[int, Utterance]]()
            for number, ask in enumerate(asks, self._asked):
                key = (ask.role, ask.prompt, ask.seed if self._is_drawn(ask) else None)
                if key in self._known:
                    known.append((number, _recalled(self._known[key], ask)))
                elif key in self._waiting:
                    self._waiting[key].append(number)
                else:
                    self._waiting[key] = [number]
                    self._being_answered[self._brought] = key
                    self._brought += 1
                    new.append(ask)
            self._asked += len(asks)
            if not known:
                return new
            answered = known

    def _learnt(self, key: _Key, utterance: Utterance) -> list[tuple[int, Utterance]]:
        self._known[key] = utterance
        if len(self._known) > REMEMBERED:
            del self._known[next(iter(self._known))]
        return [(number, utterance) for number in self._waiting.pop(key)]


def _recalled(utterance: Utterance, ask: Ask) -> Utterance:
    usage = utterance.usage
    return replace(utterance, usage=replace(usage, cached_tokens=usage.prompt_tokens)) if ask.is_repeat else utterance
