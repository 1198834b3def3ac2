"""Episode files: JSON lines, one episode per line, versioned, checksummed and crash-safe.

A line has the form ``{"schema_version": 2, "checksum": "8 hex digits", "texts": [...], "episode": {...}}`` (without the
spaces); the checksum is the CRC-32 of the bytes after it. Lines are ASCII, so texts contain no line breaks. A last
line that was cut short by a crash is torn: readers omit it with a warning, the next writer moves it to another file.
"""

from __future__ import annotations

import json
import os
import re
import warnings
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from step_hrl.data.codec import Texts, from_json, to_json
from step_hrl.errors import DataError
from step_hrl.runs.files import sync_folder, write_all, write_failure
from step_hrl.types import SCHEMA_VERSION, Episode

_VERSION = re.compile(rb'\{"schema_version":(\d+),')
_LINE = re.compile(rb'\{"schema_version":\d+,"checksum":"([0-9a-f]{8})",(.*\})\n?', re.DOTALL)

_OLDEST_VERSION = 1
_NAMES_OF_VERSION_1 = {"understood": "is_valid_action", "perturbed": "is_noise"}


class TornLineWarning(UserWarning):
    """The last line of an episode file was cut short by a crash; its episode counts as not played."""


class _Line(NamedTuple):
    offset: int
    number: int
    content: dict[str, Any]


class _TornLineError(Exception):
    """The last line cannot be read; holds its offset in bytes, its number and the problem."""

    def __init__(self, offset: int, number: int, problem: str) -> None:
        super().__init__(problem)
        self.offset = offset
        self.number = number


def encode_line(episode: Episode) -> bytes:
    """Encode an episode as one line with its line break.

    Raises :class:`~step_hrl.errors.DataError` for another schema version or a number that is not finite.
    """
    if episode.schema_version != SCHEMA_VERSION:
        raise DataError(
            f"episode {episode.id}",
            f"schema_version {episode.schema_version}",
            f"this version of step_hrl writes {SCHEMA_VERSION}",
        )
    texts = Texts()
    content = to_json(episode, texts)
    try:
        body = json.dumps({"texts": texts.all, "episode": content}, separators=(",", ":"), allow_nan=False)
    except ValueError as error:
        raise DataError(f"episode {episode.id}", str(error), "scores and rewards must be finite") from error
    checked = body[1:].encode("ascii")
    head = f'{{"schema_version":{SCHEMA_VERSION},"checksum":"{zlib.crc32(checked):08x}",'
    return head.encode("ascii") + checked + b"\n"


def read_episodes(path: Path) -> list[Episode]:
    """Read all episodes of a file, in the order they were written.

    A torn last line is omitted with a :class:`TornLineWarning`. Raises :class:`~step_hrl.errors.DataError` for a
    missing file, another schema version, or damage anywhere else.
    """
    return list(iterate_episodes(path))


def iterate_episodes(path: Path) -> Iterator[Episode]:
    """Yield the episodes of a file one by one; see :func:`read_episodes`."""
    for line in _whole_lines(path):
        yield _episode(path, line)


def salvage_episodes(path: Path) -> tuple[list[Episode], list[str]]:
    """Read the intact episodes of a damaged file and list its problems. For inspection, not training or scoring."""
    episodes: list[Episode] = []
    problems: list[str] = []
    try:
        with path.open("rb") as stream:
            for number, raw in enumerate(stream, start=1):
                try:
                    line = _Line(0, number, _content(path, number, raw))
                    episodes.append(_episode(path, line))
                except DataError as error:
                    problems.append(f"{error.where}: {error.got}; left out")
                except ValueError as error:
                    problems.append(f"{path}: line {number}: {error}; left out")
    except OSError as error:
        problems.append(f"{path}: {error.strerror or error}")
    return episodes, problems


class EpisodeWriter:
    """Appends episodes to a file; each is on disk when :meth:`write` returns.

    A context manager. ``done`` holds the ids in the file; ``torn`` is the file to which a torn last line was moved on
    entering, if there was one. Entering raises :class:`~step_hrl.errors.DataError` where another writer has the file
    open, or where the file is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.done: set[str] = set()
        self.torn: Path | None = None
        self._resources = ExitStack()
        self._descriptor: int | None = None

    def __enter__(self) -> EpisodeWriter:
        with ExitStack() as resources:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                resources.enter_context(FileLock(self.path.with_name(self.path.name + ".lock"), timeout=0))
            except Timeout:
                remedy = "wait for it to end, or write to another file"
                raise DataError(str(self.path), "another process is writing to it", remedy) from None
            except OSError as error:
                raise write_failure(self.path, error) from error
            self._recover()
            self._descriptor = self._open()
            resources.callback(os.close, self._descriptor)
            self._resources = resources.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._descriptor = None
        self._resources.close()

    def write(self, episode: Episode) -> None:
        """Append an episode durably: once this returns, a crash or power failure does not lose it.

        Raises :class:`~step_hrl.errors.DataError` for an id already in the file, a value that cannot be written, a full
        disk (the file is then unchanged), and outside the ``with`` block.
        """
        if self._descriptor is None:
            raise DataError(str(self.path), "the writer is not open", "write inside `with EpisodeWriter(path) as ...`")
        if episode.id in self.done:
            raise DataError(str(self.path), f"episode {episode.id} is already there", "skip the ids in `done`")
        line = encode_line(episode)
        end = os.fstat(self._descriptor).st_size
        try:
            write_all(self._descriptor, line)
            os.fsync(self._descriptor)
        except OSError as error:
            with suppress(OSError):
                os.ftruncate(self._descriptor, end)
            raise write_failure(self.path, error) from error
        self.done.add(episode.id)

    def _recover(self) -> None:
        if not self.path.exists():
            return
        try:
            for line in _lines(self.path):
                self.done.add(_id(self.path, line))
        except _TornLineError as torn:
            self.torn = _set_aside(self.path, torn)

    def _open(self) -> int:
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError as error:
            raise write_failure(self.path, error) from error
        sync_folder(self.path.parent)
        return descriptor


def _whole_lines(path: Path) -> Iterator[_Line]:
    try:
        yield from _lines(path)
    except _TornLineError as torn:
        warnings.warn(f"{path}: line {torn.number}: {torn}; left out", TornLineWarning, stacklevel=3)


def _lines(path: Path) -> Iterator[_Line]:
    """Yield the intact lines. Raises _TornLineError for a damaged last line, DataError for any other."""
    if not path.is_file():
        raise DataError(str(path), "no such episode file", "collect or demonstrate first, or give another path")
    try:
        with path.open("rb") as stream:
            offset = 0
            for number, raw in enumerate(stream, start=1):
                try:
                    content = _content(path, number, raw)
                except ValueError as error:
                    if stream.peek(1):
                        raise _damaged(path, number, str(error)) from None
                    raise _TornLineError(offset, number, str(error)) from None
                yield _Line(offset, number, content)
                offset += len(raw)
    except OSError as error:
        raise DataError(str(path), error.strerror or str(error), "check the path and its permissions") from error


def _content(path: Path, number: int, raw: bytes) -> dict[str, Any]:
    """The JSON of a line. Raises ValueError where it is damaged, DataError for another schema version."""
    version = _VERSION.match(raw)
    if not raw.endswith(b"\n"):
        raise ValueError("cut short")
    if version is None:
        raise ValueError("not an episode")
    if not _OLDEST_VERSION <= int(version.group(1)) <= SCHEMA_VERSION:
        known = f"{_OLDEST_VERSION} to {SCHEMA_VERSION}"
        got = f"schema_version {version.group(1).decode()}, but this version of step_hrl reads {known}"
        raise DataError(f"{path}: line {number}", got, "install the version of step_hrl that wrote it")
    match = _LINE.fullmatch(raw)
    if match is None or int(match.group(1), 16) != zlib.crc32(match.group(2)):
        raise ValueError("the checksum does not match")
    return json.loads(raw)


def _episode(path: Path, line: _Line) -> Episode:
    try:
        content = line.content["episode"]
        if line.content["schema_version"] == 1:
            content = _from_version_1(content)
        return from_json(Episode, content, Texts(line.content["texts"]))
    except (DataError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, line.number, str(error)) from error


def _from_version_1(episode: dict[str, Any]) -> dict[str, Any]:
    """An episode of schema version 1 with the field names of version 2, the only difference between them."""

    def rename(fields: dict[str, Any]) -> dict[str, Any]:
        return {_NAMES_OF_VERSION_1.get(name, name): value for name, value in fields.items()}

    segments = [{**rename(each), "steps": [rename(step) for step in each["steps"]]} for each in episode["segments"]]
    return {**episode, "segments": segments, "schema_version": SCHEMA_VERSION}


def _id(path: Path, line: _Line) -> str:
    try:
        return str(line.content["episode"]["id"])
    except (KeyError, TypeError) as error:
        raise _damaged(path, line.number, f"no episode id ({error})") from error


def _damaged(path: Path, number: int, problem: str) -> DataError:
    remedy = f"restore the file from a copy, or delete line {number} and run again to replay its episode"
    return DataError(f"{path}: line {number}", problem, remedy)


def _set_aside(path: Path, torn: _TornLineError) -> Path:
    """Move a torn last line to its own file. After a crash in between it is in both, and the next writer moves it."""
    aside = path.with_name(path.name + ".torn")
    try:
        with path.open("r+b") as stream, aside.open("ab") as target:
            stream.seek(torn.offset)
            target.write(stream.read().rstrip(b"\n") + b"\n")
            target.flush()
            os.fsync(target.fileno())
            stream.truncate(torn.offset)
            os.fsync(stream.fileno())
    except OSError as error:
        raise write_failure(path, error) from error
    message = f"{path}: line {torn.number}: {torn}; set aside to {aside.name}, its episode will be played again"
    warnings.warn(message, TornLineWarning, stacklevel=4)
    return aside
