"""One process at a time in a run's folder; a second one is told who the first is."""

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
    """Held while a run's folder is written to; a context manager that may be entered again while it is held.

    The system gives it up when the process ends, however that is. Where another process holds it, entering raises
    :class:`~step_hrl.errors.DataError` and names that process; with ``waits``, it waits for that process to give it up.
    """

    def __init__(self, folder: Path, *, waits: bool = False) -> None:
        self._folder = folder
        self._lock = FileLock(folder / LOCK_FILE, timeout=-1 if waits else 0)
        self._entered = 0
        self._held = ExitStack()

    def __enter__(self) -> RunLock:
        if not self._entered:
            self._held = self._hold()
        self._entered += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered -= 1
        if not self._entered:
            self._held.close()

    def _hold(self) -> ExitStack:
        with ExitStack() as held:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                held.enter_context(self._lock)
            except Timeout:
                remedy = "wait for it to end, or give this run another folder: output=..."
                raise DataError(str(self._folder), f"{self._holder()} is at work in it", remedy) from None
            except OSError as error:
                got = f"cannot be written: {error.strerror or error}"
                raise DataError(str(self._folder), got, "check the path and its permissions") from error
            file = self._folder / HOLDER_FILE
            held.callback(file.unlink, missing_ok=True)
            write_atomically(file, json.dumps(_this_process()) + "\n")
            return held.pop_all()

    def _holder(self) -> str:
        with suppress(OSError, ValueError, KeyError, TypeError):
            told = json.loads((self._folder / HOLDER_FILE).read_text(encoding="utf-8"))
            return f"process {told['process']} on {told['host']} (`{told['command']}`, since {told['since']})"
        return "another process"


def _this_process() -> dict[str, object]:
    return {
        "process": os.getpid(),
        "host": socket.gethostname(),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "since": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
