"""Functions that tests run in child processes."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil
import torch

from step_hrl.errors import DataError
from step_hrl.training.parallel import is_first, launched


def write_environment(folder: Path) -> None:
    (folder / os.environ["RANK"]).write_text(f"{os.environ['WORLD_SIZE']} {launched()} {is_first()}")


def raise_in_rank_1(folder: Path) -> None:
    if os.environ["RANK"] == "1":
        raise DataError("here", "nothing", "give something")
    time.sleep(120)


def exit_in_rank_1(folder: Path) -> None:
    if os.environ["RANK"] == "1":
        os._exit(7)
    time.sleep(120)


def kill_rank_1_while_communicating(folder: Path) -> None:
    torch.distributed.all_reduce(torch.ones(1))
    if os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    torch.distributed.all_reduce(torch.ones(1))


def write_listening_addresses(folder: Path) -> None:
    """Communicate once, then write the addresses that this process listens on to a file."""
    torch.distributed.all_reduce(torch.ones(1))
    listening = [c.laddr.ip for c in psutil.Process().net_connections() if c.status == psutil.CONN_LISTEN]
    (folder / os.environ["RANK"]).write_text(" ".join(listening))
