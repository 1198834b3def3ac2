"""The number of threads that torch computes with on the CPU."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager

import torch


@contextmanager
def leaving_cores(busy: int) -> Generator[None]:
    """Leave ``busy`` cores to other processes in a block; the previous number of threads is restored.

    The threads of an operation wait for one another, so that one thread that shares its core slows all of them.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, min(before, _cores() - busy)))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
