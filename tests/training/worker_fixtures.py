"""What child processes are sent to do in tests."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil
import torch

from step_hrl.errors import DataError
from step_hrl.training.parallel import is_first, launched


def note_environment(folder: Path) -> None:
    (folder / os.environ["RANK"]).write_text(f"{os.environ['WORLD_SIZE']} {launched()} {is_first()}")


def fail_in_second(folder: Path) -> None:
    if os.environ["RANK"] == "1":
        raise DataError("here", "nothing", "give something")
    time.sleep(120)


def die_in_second(folder: Path) -> None:
    if os.environ["RANK"] == "1":
        os._exit(7)
    time.sleep(120)


def note_listeners(folder: Path) -> None:
    """Leave a file that names the addresses this process listens at, having exchanged something."""
    torch.distributed.all_reduce(torch.ones(1))
    listening = [c.laddr.ip for c in psutil.Process().net_connections() if c.status == psutil.CONN_LISTEN]
    (folder / os.environ["RANK"]).write_text(" ".join(listening))
