"""A person at the keyboard, who answers for some roles while an engine answers for the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from step_hrl.engines.base import Engine
from step_hrl.engines.shared import SharedEngine
from step_hrl.errors import UnreadableReply
from step_hrl.types import Ask, Role, Utterance


class Reply(NamedTuple):
    """How a person replies for a role.

    ``utterance`` converts a typed line to the policy's utterance, or raises :class:`~step_hrl.errors.UnreadableReply`;
    ``hint`` describes what to type.
    """

    utterance: Callable[[str], str]
    hint: str


@dataclass(frozen=True)
class Person:
    """A person who takes some roles: reads the prompt that the policy would read, and replies in one line.

    ``replies`` has an entry for each role taken. ``show`` prints text of several lines; ``read`` waits for a line and
    raises to end the episode. ``before_step`` is called before each step whose action the engine chooses.
    """

    replies: Mapping[Role, Reply]
    show: Callable[[str], None]
    read: Callable[[], str]
    before_step: Callable[[], None] = lambda: None

    def answer(self, ask: Ask) -> Utterance | None:
        """The person's utterance, once it can be parsed, with a usage of 0 tokens; None where the role is not taken."""
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


def person_engine(person: Person, engine: Engine | None) -> SharedEngine:
    """An engine that asks a person first. ``engine`` may be None only where the person takes every role asked."""
    roles = ", ".join(role.value for role in Role if role in person.replies)
    return SharedEngine(person.answer, engine, {"person": roles})
