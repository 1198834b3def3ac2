"""Manifests: what a stage's output was made from, so that a rerun resumes what fits and redoes what does not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from rich.console import Console

from step_hrl.errors import DataError
from step_hrl.runs.files import write_atomically

MANIFEST_FILE = "manifest.json"
_FILE_BEFORE_0_2 = "stamp.json"


def enter_stage(folder: Path, inputs: Mapping[str, Any], console: Console) -> None:
    """Make a stage's folder ready for these inputs (plain JSON values).

    A folder made from the same inputs is resumed. One made from others is moved aside, never deleted, and the keys that
    differ are printed. Raises :class:`~step_hrl.errors.DataError` for a folder of another version of step-hrl, or with
    a damaged manifest.
    """
    manifest = folder / MANIFEST_FILE
    if (folder / _FILE_BEFORE_0_2).is_file():
        remedy = "give this run another folder (output=...), or move this one away"
        raise DataError(str(folder), "made by step-hrl 0.1, whose runs this version cannot resume", remedy)
    wanted = json.loads(json.dumps(inputs))
    if manifest.is_file():
        found = _read(manifest)
        if found == wanted:
            return
        aside = move_aside(folder)
        console.print(
            f"{folder}: inputs have changed ({_difference(found, wanted)}); moved to {aside.name}, starting again",
            markup=False,
        )
    write_atomically(manifest, json.dumps(wanted, indent=1, sort_keys=True) + "\n")


def move_aside(folder: Path) -> Path:
    """Rename a folder so that no stage finds it; return its new path."""
    number = 1
    while (aside := folder.with_name(f"{folder.name}.previous-{number}")).exists():
        number += 1
    folder.rename(aside)
    return aside


def digest(*contents: bytes) -> str:
    """First 16 hex digits of the SHA-256 over some bytes.

    >>> digest(b"a", b"b") == digest(b"ab")
    True
    """
    total = hashlib.sha256()
    for content in contents:
        total.update(content)
    return total.hexdigest()[:16]


def digest_file(path: Path) -> str:
    """:func:`digest` of a file, read in pieces."""
    with path.open("rb") as stream:
        return digest(*iter(lambda: stream.read(1 << 20), b""))


def _read(manifest: Path) -> dict[str, Any]:
    try:
        found = json.loads(manifest.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("not an object")
        return cast("dict[str, Any]", found)
    except (OSError, ValueError) as error:
        raise DataError(str(manifest), f"cannot be read ({error})", "move the folder away and run again") from error


def _difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """The dotted keys whose values differ.

    >>> _difference({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}})
    'a.c'
    """
    names: list[str] = []
    for key in sorted({*found, *wanted}):
        old, new = found.get(key), wanted.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            inner = _difference(cast(Mapping[str, Any], old), cast(Mapping[str, Any], new))
            names += [f"{key}.{name}" for name in inner.split(", ") if name]
        elif old != new:
            names.append(key)
    return ", ".join(names)
