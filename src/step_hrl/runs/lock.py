"""A lock on a run's folder; the error for a second process names the first."""

from __future__ import annotations

import json
import os
import socket
import sys
from contextlib import ExitStack, suppress
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from step_hrl.errors import DataError
from step_hrl.runs.files import write_atomically

LOCK_FILE = ".lock"
HOLDER_FILE = ".running.json"


class RunLock:
    """Held while a process writes to a run's folder. A reentrant context manager.

    The system releases it when the process ends, in whatever way. If another process holds it, entering raises
    :class:`~step_hrl.errors.DataError` with that process' name; with ``waits``, entering waits for the release instead.
    """

    def __init__(self, folder: Path, *, waits: bool = False) -> None:
        self._folder = folder
        self._lock = FileLock(folder / LOCK_FILE, timeout=-1 if waits else 0)
        self._entered = 0
        self._held = ExitStack()

    def __enter__(self) -> RunLock:
        if not self._entered:
            self._held = self._acquire()
        self._entered += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered -= 1
        if not self._entered:
            self._held.close()

    def _acquire(self) -> ExitStack:
        with ExitStack() as held:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                held.enter_context(self._lock)
            except Timeout:
                remedy = "wait for it to end, or give this run another folder: output=..."
                raise DataError(str(self._folder), f"{self._holder()} is using it", remedy) from None
            except OSError as error:
                got = f"cannot be written: {error.strerror or error}"
                raise DataError(str(self._folder), got, "check the path and its permissions") from error
            file = self._folder / HOLDER_FILE
            held.callback(file.unlink, missing_ok=True)
            write_atomically(file, json.dumps(_this_process()) + "\n")
            return held.pop_all()

    def _holder(self) -> str:
        with suppress(OSError, ValueError, KeyError, TypeError):
            holder = json.loads((self._folder / HOLDER_FILE).read_text(encoding="utf-8"))
            return f"process {holder['process']} on {holder['host']} (`{holder['command']}`, since {holder['since']})"
        return "another process"


def _this_process() -> dict[str, object]:
    return {
        "process": os.getpid(),
        "host": socket.gethostname(),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "since": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
