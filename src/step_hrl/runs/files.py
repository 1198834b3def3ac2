"""Atomic file writes: a file or folder appears complete or not at all."""

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
    """Replace a file so that readers see the old content or the new, never a part. Text is encoded as UTF-8.

    Raises :class:`~step_hrl.errors.DataError` if it cannot be written; the old content is kept.
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
    """:func:`write_atomically`, unless the file already has this content; its modification time is then kept."""
    if not path.is_file() or path.read_bytes() != content.encode("utf-8"):
        write_atomically(path, content)


@contextmanager
def written_whole(folder: Path) -> Generator[Path]:
    """Yield a scratch folder that replaces ``folder`` at the end of the block; an error discards it."""
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
    """The error for a file that cannot be written."""
    if error.errno in _FULL:
        return DataError(str(path), f"{error.strerror}: nothing was written", "free some space and run again")
    return DataError(str(path), f"cannot be written: {error.strerror or error}", "check the path and its permissions")


def write_all(descriptor: int, content: bytes) -> None:
    """Write all bytes: ``os.write`` may write only a part of them."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_folder(folder: Path) -> None:
    """Sync a folder so that a new name in it survives a power failure, on systems that support it."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
