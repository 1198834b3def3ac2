"""What an engine must offer: asks in, a line of text for each out, tokens counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from step_hrl.types import Ask, Utterance

Exchange = Callable[[Sequence[tuple[int, Utterance]]], Sequence[Ask]]
"""Takes the answers finished since the last call, each with the number of its ask, and brings more asks.

Asks are numbered from 0 in the order they are brought. While others are being answered it must not wait for more.
"""


class Engine(Protocol):
    """Generates text for many decisions at once, whatever their roles and episodes."""

    def serve(self, exchange: Exchange) -> None:
        """Answer asks with one line of text each (no line end) and the tokens it cost, every one as soon as it is said.

        New asks join those still being answered. Ends when nothing is left to answer and none are brought.
        """
        ...

    def provenance(self) -> dict[str, str]:
        """What a result must say of the engine: model, sampling settings, versions."""
        ...
