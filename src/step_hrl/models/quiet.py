"""Hides what libraries print while models are loaded and saved: bars and warnings that no user can act on.

Each block restores the state that it found.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Any, TypeVar

from transformers import modeling_gguf_pytorch_utils
from transformers.utils import logging

Item = TypeVar("Item")


@contextmanager
def without_bars() -> Generator[None]:
    """Disable transformers' progress bars, which would break this project's own."""
    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()


@contextmanager
def without_gguf_bar() -> Generator[None]:
    """Disable the bar of transformers' GGUF reader, which ignores the setting of :func:`without_bars`."""
    reader: Any = modeling_gguf_pytorch_utils
    bar = getattr(reader, "tqdm", None)
    reader.tqdm = _no_bar
    try:
        yield
    finally:
        if bar is None:
            del reader.tqdm
        else:
            reader.tqdm = bar


@contextmanager
def without_weight_warnings() -> Generator[None]:
    """Hide what transformers and PEFT warn of while they load weights or add adapters.

    PEFT reads a deprecated name of transformers. Both warn of weights that are missing, which callers must refuse.
    """
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
            warnings.filterwarnings("ignore", "Found missing adapter keys", UserWarning)
            yield
    finally:
        logging.set_verbosity(verbosity)


def _no_bar(items: Iterable[Item], **_: object) -> Iterable[Item]:
    return items
