"""Loading and saving without the bars of other libraries across our own."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from transformers.utils import logging


@contextmanager
def without_bars() -> Generator[None]:
    """Hide transformers' progress bars inside; afterwards they are as before."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
