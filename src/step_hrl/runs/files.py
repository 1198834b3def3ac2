"""Files that appear whole or not at all, whatever happens while they are written."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from step_hrl.errors import DataError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a whole file so that whoever reads it sees the old content or the new, never a part. Text is UTF-8.

    Raises :class:`~step_hrl.errors.DataError` where it cannot be written; the old content is then still there.
    """
    raw = content.encode("utf-8") if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            try:
                write_all(descriptor, raw)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise write_failure(path, error) from error
    sync_folder(path.parent)


def write_if_changed(path: Path, content: str) -> None:
    """:func:`write_atomically`, but a file that says this already keeps its time of change."""
    if not path.is_file() or path.read_bytes() != content.encode("utf-8"):
        write_atomically(path, content)


@contextmanager
def written_whole(folder: Path) -> Generator[Path]:
    """Give a scratch folder that takes the place of ``folder`` when everything in it has been written."""
    scratch = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        yield scratch
        if folder.exists():
            shutil.rmtree(folder)
        scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_failure(path: Path, error: OSError) -> DataError:
    """The one line for a file that cannot be written."""
    if error.errno in _FULL:
        return DataError(str(path), f"{error.strerror}: nothing was written", "free some space and run again")
    return DataError(str(path), f"cannot be written: {error.strerror or error}", "check the path and its permissions")


def write_all(descriptor: int, content: bytes) -> None:
    """One write, unless the system takes only a part of it at a time."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_folder(folder: Path) -> None:
    """Make a new name in a folder survive a power cut, on systems that can sync folders."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
