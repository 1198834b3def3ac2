"""GGUF files, converted once to a Hugging Face folder that can be trained and saved."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from step_hrl.errors import ModelError


def default_cache() -> Path:
    """Folder of converted models: ``$XDG_CACHE_HOME/step-hrl/gguf``, by default under ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "step-hrl" / "gguf"


def convert(source: Path, cache: Path) -> Path:
    """Convert a GGUF file, at the first call only; return the folder of its safetensors and tokenizer.

    The folder is named after the file's name and content and is written atomically, so that several processes can
    convert the same file at once. Raises ModelError where the file cannot be read as a language model, or the cache
    cannot be written.
    """
    folder = cache / f"{source.stem}-{sha256_of(source)[:16]}"
    if folder.is_dir():
        return folder
    try:
        cache.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{source.stem}-", dir=cache))
        try:
            _write(source, scratch)
            scratch.rename(folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        if not folder.is_dir():  # else another process was faster
            raise unwritable(cache, error) from error
    return folder


def unwritable(cache: Path, error: Exception) -> ModelError:
    """The error for a cache that cannot be written."""
    remedy = "free some space, or set XDG_CACHE_HOME to another folder"
    return ModelError(str(cache), f"cannot be written ({getattr(error, 'strerror', None) or error})", remedy)


def sha256_of(file: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def _write(source: Path, folder: Path) -> None:
    # Imports torch: what only asks where models are cached starts at once.
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from step_hrl.models import pretrained
    from step_hrl.models.quiet import without_bars, without_gguf_bar

    auto_model: Any = AutoModelForCausalLM
    auto_tokenizer: Any = AutoTokenizer
    with without_bars(), without_gguf_bar():
        try:
            loaded = pretrained.load_weights(str(source.parent), torch.float32, gguf_file=source.name)
            tokenizer = auto_tokenizer.from_pretrained(str(source.parent), gguf_file=source.name)
        except (*pretrained.LOADING_ERRORS, NotImplementedError) as error:
            remedy = "give a GGUF file of a supported model"
            raise ModelError(str(source), f"cannot be read ({pretrained.reason(error)})", remedy) from error
        config = loaded.config
        # A model loaded from GGUF keeps a quantizer that prevents saving and training; a new model of its config has
        # none.
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        fresh = auto_model.from_config(config)
        fresh.load_state_dict(loaded.state_dict())
        fresh.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
