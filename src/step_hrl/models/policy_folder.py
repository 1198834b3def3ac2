"""A policy's own notes beside the Hugging Face files: what it was trained with, checked when it is loaded."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from step_hrl.errors import ModelError
from step_hrl.prompts.text import LAYOUT

NOTES_FILE = "step_hrl.json"


@dataclass(frozen=True, slots=True)
class Base:
    """The model that adapters belong to: its source in the recipe, and :func:`~.adapters.digest` of its weights."""

    source: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Notes:
    """The prompts that a policy was trained with, and the base of its adapters (None: it has all weights)."""

    prompt_format: str
    prompt_layout: int = LAYOUT
    base: Base | None = None


def write_notes(folder: Path, notes: Notes) -> None:
    """Write the notes of a policy."""
    content = {key: value for key, value in asdict(notes).items() if value is not None}
    (folder / NOTES_FILE).write_text(json.dumps(content) + "\n")


def read_notes(folder: Path) -> Notes | None:
    """The notes in a folder; None if it is not a policy's. Raises ModelError for notes that cannot be read.

    Notes without a layout were written before layouts had numbers: they are of layout 1.
    """
    file = folder / NOTES_FILE
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text())
        base = content.get("base")
        return Notes(
            str(content["prompt_format"]),
            int(content.get("prompt_layout", 1)),
            base and Base(str(base["source"]), str(base["sha256"])),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        remedy = "copy the policy's folder again, or train it again"
        raise ModelError(str(file), f"cannot be read ({reason})", remedy) from error


def check_prompts(folder: Path, notes: Notes, prompt_format: str) -> None:
    """Raise ModelError for a policy that was trained with other prompts than it would be asked."""
    if notes.prompt_layout != LAYOUT:
        age = "an older" if notes.prompt_layout < LAYOUT else "a newer"
        got = f"prompt layout {notes.prompt_layout}, this version has {LAYOUT}"
        raise ModelError(str(folder), got, f"train the policy again, or use {age} step-hrl")
    if notes.prompt_format != prompt_format:
        got = f"trained with {notes.prompt_format} prompts, asked for {prompt_format}"
        raise ModelError(str(folder), got, f"set backbone.prompt_format={notes.prompt_format}")
