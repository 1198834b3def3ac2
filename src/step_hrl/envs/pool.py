"""Run environments in worker processes, so that a crash or a hang affects only the episodes of one worker.

Each worker is a process with one :class:`~step_hrl.envs.base.EnvFactory` (for example one JVM) and several
environments, used from one thread. A worker that dies, or whose current command exceeds the timeout, is killed and
replaced; its pending commands are answered with a :class:`~step_hrl.errors.WorkerLost`.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext
from multiprocessing.process import BaseProcess
from typing import Any, Literal, Protocol

from step_hrl.envs.base import EnvFactory, TextEnv, TimeLimit, World
from step_hrl.errors import StepHrlError, WorkerLost, WorldError
from step_hrl.runs import signals
from step_hrl.types import Task

Method = Literal["reset", "step", "call"]

START_SECONDS = 60.0
"""Timeout of a worker's start."""
_MAX_FAILED_STARTS = 3


@dataclass(frozen=True)
class Slot:
    """A lease on one environment of one worker; invalid once the worker has been replaced."""

    worker: int
    generation: int
    index: int


@dataclass(frozen=True)
class Reply:
    """The answer to a command: the return value of the environment (or the called function), or an error.

    ``blamed`` marks, among the commands lost with a worker, the one that it was executing.
    """

    slot: Slot
    result: Any = None
    error: StepHrlError | None = None
    blamed: bool = False


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    generation: int
    free: list[int]
    leased: set[int] = field(default_factory=set[int])
    pending: list[int] = field(default_factory=list[int])
    ready: bool = False
    since: float = field(default_factory=time.monotonic)


class EnvPool(Protocol):
    """Leases environments, in this or other processes; :meth:`poll` returns the answers to commands."""

    def acquire(self) -> Slot | None:
        """Lease an environment; None where all are leased."""
        ...

    def release(self, slot: Slot) -> None:
        """End a lease."""
        ...

    def reset(self, slot: Slot, task: Task, seed: int) -> None:
        """Request a reset."""
        ...

    def step(self, slot: Slot, action: str | None) -> None:
        """Request a step (None: an unreadable reply)."""
        ...

    def poll(self, timeout_seconds: float) -> list[Reply]:
        """Wait for replies until the timeout."""
        ...

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call ``function(environment, *arguments)`` in an environment's process; no lease may be held."""
        ...


class LocalPool:
    """One environment in this process, for a single episode at a time."""

    def __init__(self, env: TextEnv, max_episode_steps: int) -> None:
        self._env = TimeLimit(env, max_episode_steps)
        self._slot = Slot(0, 0, 0)
        self._is_free = True
        self._replies: list[Reply] = []

    def acquire(self) -> Slot | None:
        """Lease the environment; None where it is leased."""
        if not self._is_free:
            return None
        self._is_free = False
        return self._slot

    def release(self, slot: Slot) -> None:
        """End the lease."""
        self._is_free = True

    def reset(self, slot: Slot, task: Task, seed: int) -> None:
        """Reset immediately. Raises the environment's errors."""
        self._replies.append(Reply(slot, self._env.reset(task, seed=seed)))

    def step(self, slot: Slot, action: str | None) -> None:
        """Step immediately. Raises the environment's errors."""
        self._replies.append(Reply(slot, self._env.step(action)))

    def poll(self, timeout_seconds: float) -> list[Reply]:
        """The replies since the last call."""
        replies, self._replies = self._replies, []
        return replies

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call ``function(environment, *arguments)``; the environment has no limit on episode length."""
        return function(self._env.unlimited, *arguments)


class WorkerPool:
    """Leases environments in worker processes. Use as a context manager; not thread-safe."""

    def __init__(
        self,
        world: World,
        *,
        workers: int,
        simulators_per_worker: int,
        max_episode_steps: int,
        step_timeout_seconds: float = 60.0,
    ) -> None:
        self._world = world
        self._simulators = simulators_per_worker
        self._max_episode_steps = max_episode_steps
        self._timeout = step_timeout_seconds
        self._context: SpawnContext = multiprocessing.get_context("spawn")
        self._failed_starts = 0
        self._lost: list[Reply] = []
        self.restarts = 0
        resource_tracker.ensure_running()  # unblocks signals when it starts, so start it before the workers
        self._workers = [self._start(generation=0) for _ in range(workers)]

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def process_ids(self) -> list[int]:
        """The workers' process ids."""
        return [worker.process.pid or 0 for worker in self._workers]

    def acquire(self) -> Slot | None:
        """Lease an environment of the worker with the fewest leases; None where all are leased."""
        number = min(range(len(self._workers)), key=lambda n: len(self._workers[n].leased))
        worker = self._workers[number]
        if not worker.free:
            return None
        index = worker.free.pop()
        worker.leased.add(index)
        return Slot(number, worker.generation, index)

    def release(self, slot: Slot) -> None:
        """End a lease; does nothing for a worker that has been replaced."""
        worker = self._workers[slot.worker]
        if worker.generation == slot.generation and slot.index in worker.leased:
            worker.leased.remove(slot.index)
            worker.free.append(slot.index)

    def reset(self, slot: Slot, task: Task, seed: int) -> None:
        """Request a reset; :meth:`poll` returns the answer."""
        self._send(slot, "reset", (task, seed))

    def step(self, slot: Slot, action: str | None) -> None:
        """Request a step (None: an unreadable reply, see :class:`TimeLimit`); :meth:`poll` returns the answer."""
        self._send(slot, "step", (action,))

    def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call ``function(environment, *arguments)`` in a worker and return its result; no lease may be held.

        The function must be importable there; the environment has no limit on episode length. Raises the function's
        errors, and :class:`~step_hrl.errors.WorkerLost` where the worker dies or hangs.
        """
        slot = self.acquire()
        assert slot is not None, "no lease is held"
        self._send(slot, "call", (function, *arguments))
        while not (replies := self.poll(1.0)):
            pass
        self.release(slot)
        if replies[0].error is not None:
            raise replies[0].error
        return replies[0].result

    def poll(self, timeout_seconds: float) -> list[Reply]:
        """Wait for replies until the timeout; replace workers that died or hang.

        Raises :class:`~step_hrl.errors.WorldError` where workers repeatedly fail to start.
        """
        replies, self._lost = self._lost, []
        connections = {worker.connection: number for number, worker in enumerate(self._workers)}
        for ready in wait(list(connections), 0 if replies else timeout_seconds):
            number = connections[ready]  # type: ignore[index]
            replies += self._receive(number)
        now = time.monotonic()
        for number, worker in enumerate(self._workers):
            limit = self._timeout if worker.ready else START_SECONDS
            if (worker.pending or not worker.ready) and now - worker.since > limit:
                replies += self._replace(number, f"no answer within {limit:g} s")
        return replies

    def close(self) -> None:
        """Stop every worker and the processes it started."""
        for worker in self._workers:
            worker.connection.close()  # the worker reads the end of file, closes its factory and exits
        deadline = time.monotonic() + 10
        for worker in self._workers:
            worker.process.join(max(0.1, deadline - time.monotonic()))
            if worker.process.is_alive():
                _kill(worker.process)

    def _start(self, generation: int) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_worker_main, args=(theirs, self._world, self._simulators, self._max_episode_steps), daemon=True
        )
        with signals.sigint_blocked():  # workers exit when the pipe is closed, not on signals
            process.start()
        theirs.close()
        return _Worker(process, ours, generation, free=list(range(self._simulators)))

    def _send(self, slot: Slot, method: Method, arguments: tuple[Any, ...]) -> None:
        worker = self._workers[slot.worker]
        if worker.generation != slot.generation:
            self._lost.append(Reply(slot, error=_lost("its worker was replaced")))
            return
        if not worker.pending and worker.ready:
            worker.since = time.monotonic()
        worker.pending.append(slot.index)
        try:
            worker.connection.send((slot.index, method, arguments))
        except OSError:
            self._lost += self._replace(slot.worker, "died")

    def _receive(self, number: int) -> list[Reply]:
        worker = self._workers[number]
        replies: list[Reply] = []
        try:
            while worker.connection.poll():
                index, result = worker.connection.recv()
                worker.since = time.monotonic()
                if index is None:
                    if isinstance(result, WorkerLost):
                        return replies + self._replace(number, result.got)
                    self._opened(worker, result)
                    continue
                worker.pending.remove(index)
                slot = Slot(number, worker.generation, index)
                error = result if isinstance(result, StepHrlError) else None
                if isinstance(error, WorkerLost):
                    worker.pending.insert(0, index)
                    return replies + self._replace(number, error.got)
                replies.append(Reply(slot, error=error) if error else Reply(slot, result))
        except (EOFError, OSError):
            replies += self._replace(number, "died")
        return replies

    def _opened(self, worker: _Worker, failure: StepHrlError | None) -> None:
        if failure is not None:
            raise failure
        worker.ready = True
        self._failed_starts = 0

    def _replace(self, number: int, reason: str) -> list[Reply]:
        """Kill a worker, start a replacement, and return an error for every pending command."""
        worker = self._workers[number]
        _kill(worker.process)
        worker.connection.close()
        self.restarts += 1
        self._failed_starts += 0 if worker.ready else 1
        if self._failed_starts >= _MAX_FAILED_STARTS:
            raise WorldError(self._world.name, f"its worker cannot be started ({reason})", "run `step-hrl doctor`")
        self._workers[number] = self._start(worker.generation + 1)
        return [
            Reply(Slot(number, worker.generation, index), error=_lost(reason), blamed=place == 0)
            for place, index in enumerate(worker.pending)  # commands are executed in order
        ]


def _lost(reason: str) -> WorkerLost:
    return WorkerLost("worker", reason, "the episode is retried once")


def _kill(process: BaseProcess) -> None:
    """Kill a worker and the processes it started."""
    assert process.pid, "the process was started"
    with suppress(ProcessLookupError, PermissionError):  # no process group yet, or already gone
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()


def _worker_main(connection: Connection, world: World, simulators: int, max_episode_steps: int) -> None:
    """Main function of a worker: open the world, execute commands in order, exit when the pipe is closed."""
    os.setpgid(0, 0)  # so that it is killed together with the processes it starts
    try:
        factory, environments = _open(world, simulators, max_episode_steps)
    except StepHrlError as error:
        connection.send((None, error))
        return
    try:
        connection.send((None, None))
        while True:
            command: tuple[int, Method, tuple[Any, ...]] = connection.recv()
            index, method, arguments = command
            connection.send((index, _answer(environments[index], method, arguments)))
    except (EOFError, OSError):
        pass
    finally:
        factory.close()


def _open(world: World, simulators: int, max_episode_steps: int) -> tuple[EnvFactory, Sequence[TimeLimit]]:
    """Create the environments. Raises the world's StepHrlError; WorkerLost for any other error, which is retried."""
    factory = world.open()
    try:
        return factory, [TimeLimit(factory.env(), max_episode_steps) for _ in range(simulators)]
    except StepHrlError:
        factory.close()
        raise
    except Exception as error:
        factory.close()
        raise _failed(error) from error


def _answer(environment: TimeLimit, method: Method, arguments: tuple[Any, ...]) -> object:
    try:
        if method == "call":
            function, *rest = arguments
            return function(environment.unlimited, *rest)
        if method == "reset":
            task, seed = arguments
            return environment.reset(task, seed=seed)
        return environment.step(*arguments)
    except StepHrlError as error:
        return error
    except Exception as error:  # an environment's error is recorded in the episode and does not end the run
        return _failed(error)


def _failed(error: Exception) -> WorkerLost:
    return _lost(f"{type(error).__name__}: {error}")
