"""A person beside an engine: says what some roles say, and leaves the others to the engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from step_hrl.engines.base import Engine, Exchange
from step_hrl.errors import UnreadableReply
from step_hrl.types import Ask, Role, Utterance


class Reply(NamedTuple):
    """How a person replies for a role.

    ``utterance`` makes the policy's utterance of a typed line, or raises :class:`~step_hrl.errors.UnreadableReply`;
    ``hint`` says what to type.
    """

    utterance: Callable[[str], str]
    hint: str


@dataclass(frozen=True)
class Person:
    """Somebody who takes some roles: reads what the policy would read, and replies in one line.

    ``replies`` holds the roles taken. ``show`` shows text of several lines; ``read`` waits for a line, and ends the
    play by whatever it raises. ``before_step`` is called before each step whose action the engine chooses.
    """

    replies: Mapping[Role, Reply]
    show: Callable[[str], None]
    read: Callable[[], str]
    before_step: Callable[[], None] = lambda: None

    def answer(self, ask: Ask) -> Utterance | None:
        """The person's readable utterance, of no tokens; None where the role is not taken."""
        reply = self.replies.get(ask.role)
        if reply is None:
            if ask.role is Role.LOW:
                self.before_step()
            return None
        self.show(ask.prompt)
        while True:
            try:
                return Utterance(reply.utterance(self.read()))
            except UnreadableReply as unreadable:
                self.show(f"{unreadable}; type {reply.hint}")


class PersonEngine:
    """An engine whose asks a person sees first. While the person thinks, the engine waits."""

    def __init__(self, person: Person, engine: Engine | None) -> None:
        """``engine`` may be None only where the person takes every role that is asked."""
        self._person = person
        self._engine = engine

    def serve(self, exchange: Exchange) -> None:
        """Answer asks as they come; see :class:`~step_hrl.engines.base.Engine`."""
        left = _Attended(exchange, self._person).exchange
        if self._engine is not None:
            self._engine.serve(left)
        elif asks := left([]):
            raise TypeError(f"nobody answers the role {asks[0].role}")

    def provenance(self) -> dict[str, str]:
        """The engine's, and the roles that the person took."""
        taken = {"person": ", ".join(role.value for role in Role if role in self._person.replies)}
        return {**(self._engine.provenance() if self._engine else {}), **taken}


class _Attended:
    """An exchange that brings only what the person leaves to the engine."""

    def __init__(self, exchange: Exchange, person: Person) -> None:
        self._exchange = exchange
        self._person = person
        self._asked = 0
        self._brought: list[int] = []  # by the number an ask is brought under, the one it was asked under

    def exchange(self, finished: Sequence[tuple[int, Utterance]]) -> list[Ask]:
        """Pass answers on under the numbers of their asks; have the person answer theirs."""
        answered = [(self._brought[number], utterance) for number, utterance in finished]
        left: list[Ask] = []
        while True:
            asks, said = self._exchange(answered), list[tuple[int, Utterance]]()
            for number, ask in enumerate(asks, self._asked):
                utterance = self._person.answer(ask)
                if utterance is None:
                    self._brought.append(number)
                    left.append(ask)
                else:
                    said.append((number, utterance))
            self._asked += len(asks)
            if not said:
                return left
            answered = said
