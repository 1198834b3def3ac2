"""GGUF files, converted once to a Hugging Face folder that can be trained and saved."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from step_hrl.errors import ModelError
from step_hrl.models.quiet import without_bars


def default_cache() -> Path:
    """Folder of converted models: ``$XDG_CACHE_HOME/step-hrl/gguf``, by default under ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "step-hrl" / "gguf"


def convert(source: Path, cache: Path) -> Path:
    """Convert a GGUF file, at the first call only; return the folder of its safetensors and tokenizer.

    The folder is named after the file's name and content and is written atomically, so that several processes can
    convert the same file at once. Raises ModelError where the file cannot be read as a language model.
    """
    folder = cache / f"{source.stem}-{_digest(source)}"
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{source.stem}-", dir=cache))
    try:
        with without_bars():
            _write(source, scratch)
        try:
            scratch.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


def _write(source: Path, folder: Path) -> None:
    auto_model: Any = AutoModelForCausalLM
    auto_tokenizer: Any = AutoTokenizer
    try:
        loaded = auto_model.from_pretrained(str(source.parent), gguf_file=source.name, dtype=torch.float32)
        tokenizer = auto_tokenizer.from_pretrained(str(source.parent), gguf_file=source.name)
    except (OSError, ValueError, KeyError, ImportError, NotImplementedError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(str(source), f"cannot be read ({reason})", "give a GGUF file of a supported model") from error
    config = loaded.config
    # A model loaded from GGUF keeps a quantizer that prevents saving and training; a new model of its config has none.
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    fresh = auto_model.from_config(config)
    fresh.load_state_dict(loaded.state_dict())
    fresh.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _digest(source: Path) -> str:
    digest = hashlib.sha256()
    with source.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()[:16]
