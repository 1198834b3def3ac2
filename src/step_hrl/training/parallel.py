"""Data-parallel training on one machine: the same call in several processes that divide the cores."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from step_hrl.errors import ModelError
from step_hrl.runs import signals

POLL_SECONDS = 0.1
GRACE_SECONDS = 10.0


def launched() -> bool:
    """Whether this process is one of several started by a launcher (this module or ``accelerate launch``)."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_first() -> bool:
    """Whether this process has rank 0, which writes the files."""
    return int(os.environ.get("RANK", "0")) == 0


def run_in_processes(processes: int, function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    """Call ``function(*arguments)`` in several new processes of one ``torch.distributed`` group, and wait for them.

    A stop requested of this process is passed on to them. If this process dies, they exit.

    Args:
        processes: Number of processes. Each gets an equal share of this process's cores as threads.
        function: Importable by module and name; its return value is dropped.
        arguments: Pickled.

    Raises the :class:`~step_hrl.errors.StepHrlError` or :class:`~step_hrl.runs.signals.Stopped` that a process raised,
    and :class:`~step_hrl.errors.ModelError` for a process that died; the other processes are then terminated.
    """
    with tempfile.TemporaryDirectory(prefix="step-hrl-") as folder:
        job = Path(folder) / "job.pickle"
        job.write_bytes(pickle.dumps((function, arguments)))
        children: list[subprocess.Popen[bytes]] = []
        try:
            for rank in range(processes):
                command = [sys.executable, "-m", "step_hrl.training.worker", str(job), str(rank)]
                environment = _environment(rank, processes)
                with signals.sigint_blocked():  # this process passes on requests to stop
                    children.append(subprocess.Popen(command, env=environment, stdin=subprocess.PIPE))
            _wait(children, job)
        finally:
            _terminate(children)


def error_file(job: Path, rank: int) -> Path:
    """The file that a process pickles its error to."""
    return job.with_name(f"error-{rank}.pickle")


def join_group(job: Path, rank: int) -> None:
    """Join the process group by a file beside the job instead of a port that other machines could reach.

    The processes communicate over this machine's loopback interface.
    """
    import torch

    torch.distributed.init_process_group(
        "nccl" if torch.cuda.is_available() else "gloo",
        init_method=job.with_name("meeting").as_uri(),
        rank=rank,
        world_size=int(os.environ["WORLD_SIZE"]),
    )


def _environment(rank: int, processes: int) -> Mapping[str, str]:
    threads = max(1, _cores() // processes)
    loopback = {name for _, name in socket.if_nameindex() if name in ("lo", "lo0")}
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        **{f"{library}_SOCKET_IFNAME": name for name in loopback for library in ("GLOO", "NCCL")},
        "OMP_NUM_THREADS": str(threads),
        # Threads that spin while they wait occupy cores that the other processes need.
        "OMP_WAIT_POLICY": "PASSIVE",
    }


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _wait(children: Sequence[subprocess.Popen[bytes]], job: Path) -> None:
    stop_requested = False
    while None in (codes := [child.poll() for child in children]):
        if any(codes):
            # The others would wait forever for the failed process's gradients.
            break
        if signals.stop_requested() and not stop_requested:
            stop_requested = True
            for child in children:
                _request_stop(child)
        time.sleep(POLL_SECONDS)
    for rank, child in enumerate(children):
        if child.returncode:
            reason = error_file(job, rank)
            if reason.is_file():
                raise pickle.loads(reason.read_bytes())
            got = f"process {rank} of {len(children)} died (exit code {child.returncode})"
            raise ModelError("training", got, "read its output; if memory ran out, lower tokens_per_batch")


def _request_stop(child: subprocess.Popen[bytes]) -> None:
    assert child.stdin is not None, "children are started with a pipe"
    with suppress(OSError):  # the child has just exited
        child.stdin.write(b"s")
        child.stdin.flush()


def _terminate(children: Sequence[subprocess.Popen[bytes]]) -> None:
    for child in children:
        if child.poll() is None:
            child.terminate()
    for child in children:
        try:
            child.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        if child.stdin is not None:
            child.stdin.close()
