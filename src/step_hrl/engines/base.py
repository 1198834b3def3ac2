"""What an engine must offer: a batch of asks in, a line of text for each out, tokens counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from step_hrl.types import Ask, Utterance


class Engine(Protocol):
    """Generates text for many decisions at once, whatever their roles and episodes."""

    def generate(self, asks: Sequence[Ask]) -> list[Utterance]:
        """Answer every ask, in order, with one line of text (no line end) and the tokens it cost."""
        ...

    def provenance(self) -> dict[str, str]:
        """What a result must say of the engine: model, sampling settings, versions."""
        ...
