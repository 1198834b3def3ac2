"""What an engine offers: asks in, a line of text for each out, tokens counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from step_hrl.types import Ask, Utterance

Answers = Sequence[tuple[int, Utterance | None]]
"""Finished answers, each with the number of its ask. None says that there is no answer: the episode ends there."""
Exchange = Callable[[Answers], Sequence[Ask]]
"""Takes the answers finished since the last call and returns more asks.

Asks are numbered from 0 in the order they are returned. While others are being answered it must not wait for more.
"""


class Engine(Protocol):
    """Answers the asks of many episodes at once, whatever their roles: a model, an expert, a person or a server."""

    def serve(self, exchange: Exchange) -> None:
        """Answer each ask with one line of text (no line end) and the tokens it cost, as soon as it is known.

        New asks join those still being answered. Ends when nothing is left to answer and no asks come.
        """
        ...

    def provenance(self) -> dict[str, str]:
        """What a result must say of the engine: model, sampling settings, versions."""
        ...
