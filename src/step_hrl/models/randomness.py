"""Seeding that leaves the caller's random state unchanged."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

import torch

_random = cast(Any, torch.random)  # not annotated by torch


@contextmanager
def seeded(seed: int) -> Generator[None]:
    """Seed torch's global generators on every device in a block; their previous state is restored."""
    with _random.fork_rng():
        reseed(seed)
        yield


def reseed(seed: int) -> None:
    """Seed torch's global generators again. Only for use inside :func:`seeded`."""
    _random.manual_seed(seed)
