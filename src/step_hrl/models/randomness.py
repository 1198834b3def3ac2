"""Seeds without global traces: what is drawn inside leaves the caller's random state as it was."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

import torch

_random = cast(Any, torch.random)  # not annotated by torch


@contextmanager
def seeded(seed: int) -> Generator[None]:
    """Draw from torch's global generators as seeded here, on every device; afterwards they are as before."""
    with _random.fork_rng():
        reseed(seed)
        yield


def reseed(seed: int) -> None:
    """Seed torch's global generators. Only for use inside :func:`seeded`."""
    _random.manual_seed(seed)
