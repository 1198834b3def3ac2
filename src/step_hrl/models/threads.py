"""How many threads the processor's share of the work gets."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager

import torch


@contextmanager
def leaving_cores(busy: int) -> Generator[None]:
    """Compute in as many threads as there are cores that no one else is ``busy`` on; afterwards as before.

    Threads of one operation wait for one another: where one of them has to share its core, all of them stand still.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, min(before, _cores() - busy)))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
