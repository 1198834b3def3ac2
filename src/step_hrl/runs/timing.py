"""Wall time of a stage, summed over interrupted and resumed runs."""

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
    """Add the time spent in the block to the wall time recorded in a stage's folder, also if the block raises.

    The time of a killed process is lost.
    """
    start = time.monotonic()
    try:
        yield
    finally:
        spent = {"seconds": round(seconds(folder) + time.monotonic() - start, 3)}
        write_atomically(folder / _FILE, json.dumps(spent) + "\n")


def seconds(folder: Path) -> float:
    """The recorded seconds; 0 if there is no readable record."""
    try:
        return float(json.loads((folder / _FILE).read_text(encoding="utf-8"))["seconds"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return 0.0
