"""Checks this machine's installation; each problem has the command that fixes it."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from step_hrl.envs import alfworld, alfworld_games, scienceworld
from step_hrl.errors import WorldError
from step_hrl.models import gguf, named

State = Literal["ok", "warning", "missing"]
"""``warning``: present, but unsuitable."""

OLDEST_PYTHON = (3, 10)
QUICKSTART_MEMORY_GIB = 2.0
QUICKSTART_DISK_GIB = 1.0

_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
_MARKS: dict[State, str] = {"ok": "[green]ok[/]", "warning": "[yellow]warning[/]", "missing": "[red]missing[/]"}


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. ``needed``: the quickstart does not run without it."""

    what: str
    state: State
    found: str
    remedy: str = ""
    needed: bool = False


def diagnose(folder: Path | None = None) -> list[Finding]:
    """Run all checks; ``folder`` (default: the current one) is where runs would be written."""
    return [
        _python(sys.version_info[:3]),
        _torch(),
        *(_package(name, f"pip install {name}", needed=True) for name in ("transformers", "accelerate", "peft")),
        _memory(_memory_gib()),
        _disk(folder or Path()),
        *(_backbone(name, gguf.default_cache()) for name in named.BACKBONES),
        _package("scienceworld", scienceworld.INSTALL),
        _java(),
        _alfworld(),
        _games(alfworld_games.data_folder()),
        *(_package(name, f"pip install 'step-hrl[{name}]'") for name in ("trackio", "tensorboard", "wandb")),
    ]


def examine(console: Console) -> int:
    """Print all findings; return the exit code of the command."""
    findings = diagnose()
    console.print(table(findings))
    return exit_code(findings)


def exit_code(findings: Iterable[Finding]) -> int:
    """0 if everything that the quickstart needs is there, else 1."""
    return int(any(finding.needed and finding.state == "missing" for finding in findings))


def table(findings: Sequence[Finding]) -> Table:
    """One row a finding: name, state, what was found and what to do."""
    ready = exit_code(findings) == 0
    caption = (
        "Ready for the quickstart." if ready else "Not ready for the quickstart: install what is needed and missing."
    )
    shown = Table(caption=caption, caption_justify="left")
    for heading in ("", "", "found", "what to do"):
        shown.add_column(heading, overflow="fold")
    for finding in findings:
        optional = finding.state == "missing" and not finding.needed
        mark = "[dim]not found[/]" if optional else _MARKS[finding.state]
        what = f"{finding.what} (needed)" if finding.needed else finding.what
        shown.add_row(escape(what), mark, escape(finding.found), escape(finding.remedy))
    return shown


def _python(version: tuple[int, int, int]) -> Finding:
    found = ".".join(map(str, version)) + f", {platform.system()} {platform.machine()}"
    if version[:2] >= OLDEST_PYTHON:
        return Finding("Python", "ok", found, needed=True)
    return Finding("Python", "missing", found, "install Python 3.10 or newer", needed=True)


def _torch() -> Finding:
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        return Finding("torch", "missing", _first_line(error), "pip install torch", needed=True)
    except (OSError, RuntimeError) as error:
        # Installed, but built for another driver or processor.
        remedy = "pip install --force-reinstall torch"
        return Finding("torch", "missing", f"does not load ({_first_line(error)})", remedy, needed=True)
    if torch.cuda.is_available():
        gib = torch.cuda.get_device_properties(0).total_memory / 2**30
        device = f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}, {gib:.0f} GiB"
    else:
        device = f"no GPU, {os.cpu_count()} CPU cores"
    return Finding("torch", "ok", f"{torch.__version__}, {device}", needed=True)


def _package(name: str, remedy: str, *, needed: bool = False) -> Finding:
    try:
        return Finding(name, "ok", metadata.version(name), needed=needed)
    except metadata.PackageNotFoundError:
        return Finding(name, "missing", "not installed", remedy, needed)


def _memory_gib() -> float:
    """Memory of the machine, or of the container if that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = _CGROUP_LIMIT.read_text(encoding="ascii").strip()
    except OSError:
        limit = ""
    return (min(total, int(limit)) if limit.isdigit() else total) / 2**30


def _memory(gib: float) -> Finding:
    if gib >= QUICKSTART_MEMORY_GIB:
        return Finding("memory", "ok", f"{gib:.1f} GiB", needed=True)
    remedy = f"the quickstart uses up to {QUICKSTART_MEMORY_GIB:.0f} GiB: close other programs or use a larger machine"
    return Finding("memory", "missing", f"{gib:.1f} GiB", remedy, needed=True)


def _disk(folder: Path) -> Finding:
    existing = next(place for place in (folder.resolve(), *folder.resolve().parents) if place.exists())
    gib = shutil.disk_usage(existing).free / 2**30
    found = f"{gib:.1f} GiB free under {existing}"
    if gib >= QUICKSTART_DISK_GIB:
        return Finding("disk", "ok", found, needed=True)
    remedy = f"free {QUICKSTART_DISK_GIB:.0f} GiB, or write elsewhere with output=FOLDER"
    return Finding("disk", "missing", found, remedy, needed=True)


def _backbone(name: str, cache: Path) -> Finding:
    """Whether a named backbone is in the cache."""
    folder = named.folder_of(name, cache)
    if folder.is_dir():
        return Finding(name, "ok", f"backbone in {folder}")
    remedy = f"nothing: backbone.source={name} downloads it once ({named.BACKBONES[name].megabytes} MB)"
    return Finding(name, "missing", f"no backbone in {folder}", remedy)


def _java() -> Finding:
    """Whether a Java runtime is found and starts; only ScienceWorld needs one."""
    try:
        path = scienceworld.find_java()
        return Finding("Java", "ok", f"{scienceworld.java_version(path)} at {path}")
    except WorldError as error:
        return Finding("Java", "missing", error.got, error.remedy)


def _alfworld() -> Finding:
    finding = _package("alfworld", alfworld.INSTALL)
    if finding.state == "ok" and finding.found.startswith(("0.1.", "0.2.", "0.3.")):
        # Before 0.4 the action was "put X in/on Y", since then "move X to Y": experts and scores are not compatible.
        return Finding("alfworld", "warning", f"{finding.found} has other action names", "pip install alfworld==0.4.2")
    return finding


def _games(data: Path) -> Finding:
    root = data / "json_2.1.1"
    folders = alfworld_games.FOLDERS.items()
    counts = {split: sum(1 for _ in root.glob(f"{folder}/*/*/game.tw-pddl")) for split, folder in folders}
    found = ", ".join(f"{count} {split}" for split, count in counts.items()) + f" under {root}"
    if not any(counts.values()):
        return Finding("ALFWorld games", "missing", f"none under {root}", alfworld_games.DOWNLOAD)
    if not all(counts.values()):
        return Finding("ALFWorld games", "warning", found, alfworld_games.DOWNLOAD)
    return Finding("ALFWorld games", "ok", found)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
