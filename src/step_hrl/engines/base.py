"""The interface of an engine: asks in, one line of text for each out, with token counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from step_hrl.types import Ask, Utterance

Answers = Sequence[tuple[int, Utterance | None]]
"""Finished answers, each with the number of its ask. None means that there is no answer: the episode ends."""
Exchange = Callable[[Answers], Sequence[Ask]]
"""Takes the answers finished since the last call and returns more asks.

Asks are numbered from 0 in the order they are returned. It must not block while asks are still being answered.
"""


class Engine(Protocol):
    """Answers the asks of many episodes at once, whatever their roles: a model, an expert, a person or a server."""

    def serve(self, exchange: Exchange) -> None:
        """Answer each ask with one line of text (no line end) and its token counts, as soon as it is finished.

        New asks are batched with those still being answered. Returns when every ask is answered and ``exchange``
        returns none.
        """
        ...

    def provenance(self) -> dict[str, str]:
        """The engine's part of a result's provenance: model, sampling settings, versions."""
        ...
