"""Weights and tokenizers in the Hugging Face format: what cannot be loaded whole is refused in one line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from jinja2 import TemplateError
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer

from step_hrl.errors import ModelError
from step_hrl.models import gguf, named
from step_hrl.models.quiet import without_bars, without_weight_warnings

LOADING_ERRORS = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ImportError,
    RuntimeError,
    SafetensorError,
    TemplateError,
)
"""What transformers, PEFT and tokenizers raise for files that are missing, truncated or of another format."""
ADVICE = "check the hub id or path (and the network, for a hub id)"
_TOKENIZER_FILES = ("tokenizer*", "vocab*", "*.model", "*.tiktoken")
_SHOWN = 3


def locate(source: str, cache: Path | None = None) -> str:
    """What to load for a recipe's source: a folder on this machine, or a hub id.

    A named backbone is fetched and a GGUF file is converted, once, into ``cache`` (by default
    :func:`~step_hrl.models.gguf.default_cache`). Raises ModelError where there is no such model.
    """
    if source in named.BACKBONES:
        return str(named.fetch(source, cache or gguf.default_cache()))
    path = Path(source)
    if source.endswith(".gguf"):
        if not path.is_file():
            raise ModelError("backbone.source", f"no file {source}", "check the path of the GGUF file")
        return str(gguf.convert(path, cache or gguf.default_cache()))
    return absolute(source)


def absolute(source: str) -> str:
    """A recipe's source as adapters store it: a path that is valid from any working directory, a name or a hub id."""
    path = Path(source)
    return str(path.resolve()) if path.exists() and source not in named.BACKBONES else source


def looks_local(source: str) -> bool:
    """Whether a source is a path rather than a hub id, whether it exists or not."""
    return Path(source).exists() or source.startswith((".", "/", "~")) or source.count("/") > 1


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder has files of a tokenizer."""
    return any(next(folder.glob(pattern), None) for pattern in _TOKENIZER_FILES)


def load_tokenizer(source: str, *, trust_remote_code: bool) -> Any:
    """Load the tokenizer of a folder or hub id. Raises ModelError for a folder without one."""
    folder = Path(source)
    if folder.is_dir() and not has_tokenizer(folder):
        remedy = "copy the model's tokenizer.json and tokenizer_config.json there"
        raise ModelError(source, "no tokenizer in this model folder", remedy)
    return cast(Any, AutoTokenizer).from_pretrained(source, trust_remote_code=trust_remote_code)


def load_weights(source: str, dtype: Any, **options: Any) -> Any:
    """Load a causal language model of a folder or hub id.

    Raises ModelError where weights are missing or of another shape: transformers would fill them with random numbers.
    Raises one of :data:`LOADING_ERRORS` where files are missing or damaged.
    """
    load = cast(Any, AutoModelForCausalLM).from_pretrained
    options |= {"dtype": dtype, "output_loading_info": True, "ignore_mismatched_sizes": True}
    with without_bars(), without_weight_warnings():
        model, info = load(source, **options)
    refuse_missing(source, info["missing_keys"])
    refuse_missing(source, (key[0] for key in info["mismatched_keys"]), "have another shape")
    _freeze_all_but_text(model)
    return model


def _freeze_all_but_text(model: Any) -> None:
    """Freeze what no prompt reaches: the image encoder of a model that also reads images."""
    text = {id(p) for part in (model.get_decoder(), model.get_output_embeddings()) for p in part.parameters()}
    for parameter in model.parameters():
        if id(parameter) not in text:
            parameter.requires_grad_(False)


def refuse_missing(where: str, keys: Iterable[str], what: str = "are missing") -> None:
    """Raise ModelError, naming some of the weights, if there are any."""
    names = sorted(keys)
    if names:
        shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
        raise ModelError(where, f"{len(names)} weights {what} ({shown})", "give a complete model of this architecture")


def reason(error: BaseException) -> str:
    """An error of a library as a part of one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def failure(source: str, located: str, error: BaseException) -> ModelError:
    """The error for a model that cannot be loaded from where :func:`locate` found it."""
    advice = ADVICE
    if not looks_local(source) and "/" not in source:
        advice += "; named backbones: " + ", ".join(named.BACKBONES)
    if source in named.BACKBONES or source.endswith(".gguf"):
        advice = f"delete {located}, which is then made again"
    return ModelError("backbone.source", f"{source} cannot be loaded ({reason(error)})", advice)
