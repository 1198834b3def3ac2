"""Manifests record a stage's inputs, so that a rerun resumes a stage whose inputs are unchanged and redoes others."""

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
_MANIFEST_FILE_OF_0_1 = "stamp.json"


def enter_stage(folder: Path, inputs: Mapping[str, Any], console: Console) -> None:
    """Prepare a stage's folder for these inputs (plain JSON values).

    A folder with the same inputs is resumed. One with other inputs is moved aside, never deleted, and the keys that
    differ are printed. Raises :class:`~step_hrl.errors.DataError` for a folder of step-hrl 0.1 or a damaged manifest.
    """
    manifest = folder / MANIFEST_FILE
    if (folder / _MANIFEST_FILE_OF_0_1).is_file():
        remedy = "give this run another folder (output=...), or move this one away"
        raise DataError(str(folder), "made by step-hrl 0.1; this version cannot resume it", remedy)
    wanted = json.loads(json.dumps(inputs))
    if manifest.is_file():
        recorded = _read(manifest)
        if recorded == wanted:
            return
        aside = move_aside(folder)
        console.print(
            f"{folder}: inputs have changed ({_difference(recorded, wanted)}); moved to {aside.name}, starting over",
            markup=False,
        )
    write_atomically(manifest, json.dumps(wanted, indent=1, sort_keys=True) + "\n")


def move_aside(folder: Path) -> Path:
    """Rename a folder to ``.previous-<number>``; return its new path."""
    number = 1
    while (aside := folder.with_name(f"{folder.name}.previous-{number}")).exists():
        number += 1
    folder.rename(aside)
    return aside


def digest(*contents: bytes) -> str:
    """First 16 hex digits of the SHA-256 of the concatenated contents.

    >>> digest(b"a", b"b") == digest(b"ab")
    True
    """
    sha256 = hashlib.sha256()
    for content in contents:
        sha256.update(content)
    return sha256.hexdigest()[:16]


def digest_file(path: Path) -> str:
    """:func:`digest` of a file, read in blocks."""
    with path.open("rb") as stream:
        return digest(*iter(lambda: stream.read(1 << 20), b""))


def _read(manifest: Path) -> dict[str, Any]:
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("not an object")
        return cast("dict[str, Any]", content)
    except (OSError, ValueError) as error:
        raise DataError(str(manifest), f"cannot be read ({error})", "move the folder away and run again") from error


def _difference(recorded: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """The dotted keys whose values differ.

    >>> _difference({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}})
    'a.c'
    """
    names: list[str] = []
    for key in sorted({*recorded, *wanted}):
        old, new = recorded.get(key), wanted.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            inner = _difference(cast(Mapping[str, Any], old), cast(Mapping[str, Any], new))
            names += [f"{key}.{name}" for name in inner.split(", ") if name]
        elif old != new:
            names.append(key)
    return ", ".join(names)
