"""How long a stage has worked, over all sittings it took."""

from __future__ import annotations

import json
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from step_hrl.runs.files import write_atomically

_FILE = "wall_time.json"


@contextmanager
def timed(folder: Path) -> Generator[None]:
    """Add the time spent inside to what a stage's folder has on record, also where it ends in an error.

    What a killed process spent is lost.
    """
    start = time.monotonic()
    try:
        yield
    finally:
        spent = {"seconds": round(seconds(folder) + time.monotonic() - start, 3)}
        write_atomically(folder / _FILE, json.dumps(spent) + "\n")


def seconds(folder: Path) -> float:
    """The seconds on record; 0 where there are none, or none that can be read."""
    try:
        return float(json.loads((folder / _FILE).read_text(encoding="utf-8"))["seconds"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return 0.0
