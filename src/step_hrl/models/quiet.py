"""Loading and saving without the progress bars of transformers, which would break this project's own."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from transformers.utils import logging


@contextmanager
def without_bars() -> Generator[None]:
    """Disable transformers' progress bars in a block; the previous state is restored."""
    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()
