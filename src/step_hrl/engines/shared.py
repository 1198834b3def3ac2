"""An engine combined with a function that answers some asks itself: a person's replies, or an expert in one role."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from step_hrl.engines.base import Answers, Engine, Exchange
from step_hrl.types import Ask, Utterance


class SharedEngine:
    """Calls ``answer`` first; the engine answers the asks for which it returns None."""

    def __init__(
        self,
        answer: Callable[[Ask], Utterance | None],
        engine: Engine | None,
        provenance: Mapping[str, str] | None = None,
    ) -> None:
        """``engine`` may be None only if ``answer`` answers every ask; ``provenance`` describes ``answer``."""
        self._answer = answer
        self._engine = engine
        self._provenance = dict(provenance or {})

    def serve(self, exchange: Exchange) -> None:
        """Answer asks as they come; see :class:`~step_hrl.engines.base.Engine`. The engine waits for ``answer``.

        Raises TypeError where there is no engine for an ask that ``answer`` leaves.
        """
        remaining = _Remaining(exchange, self._answer).exchange
        if self._engine is not None:
            self._engine.serve(remaining)
        elif asks := remaining([]):
            raise TypeError(f"nobody answers the role {asks[0].role}")

    def provenance(self) -> dict[str, str]:
        """The engine's provenance, and that of ``answer``."""
        return {**(self._engine.provenance() if self._engine else {}), **self._provenance}


class _Remaining:
    """An exchange that passes on only the asks that ``answer`` leaves to the engine."""

    def __init__(self, exchange: Exchange, answer: Callable[[Ask], Utterance | None]) -> None:
        self._exchange = exchange
        self._answer = answer
        self._asked = 0
        self._numbers: list[int] = []  # maps the engine's numbers of asks to the exchange's

    def exchange(self, finished: Answers) -> list[Ask]:
        """Pass answers on under the exchange's numbers; return the asks that ``answer`` leaves."""
        answered = [(self._numbers[number], utterance) for number, utterance in finished]
        remaining: list[Ask] = []
        while True:
            asks, at_once = self._exchange(answered), list[tuple[int, Utterance | None]]()
            for number, ask in enumerate(asks, self._asked):
                utterance = self._answer(ask)
                if utterance is None:
                    self._numbers.append(number)
                    remaining.append(ask)
                else:
                    at_once.append((number, utterance))
            self._asked += len(asks)
            if not at_once:
                return remaining
            answered = at_once
