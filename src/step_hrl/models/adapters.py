"""Low-rank adapters: create, load and save them, each with the one base that they were trained on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import peft
import torch

from step_hrl.config import LoraConfig
from step_hrl.errors import ModelError
from step_hrl.models import named, pretrained
from step_hrl.models.policy_folder import Base, Notes
from step_hrl.models.quiet import without_weight_warnings
from step_hrl.models.randomness import seeded

CONFIG_FILE = "adapter_config.json"
SAMPLE = 1024
"""Values of each tensor that :func:`digest` reads, at most."""

_peft = cast(Any, peft)  # partly annotated
_WEIGHT_FILES = ("adapter_model.safetensors", "adapter_model.bin")
_BASE_KEY = "base_model_name_or_path"


def digest(model: Any) -> str:
    """The SHA-256 of a model without adapters: of its type, and of each weight's name, shape and a sample of values.

    The sample is the same on each call: evenly spaced over the tensor and rounded to bfloat16, so that it does not
    depend on the data type that the model is loaded in. It covers every tensor, for fine-tuning may change any.
    """
    config, content = model.config, hashlib.sha256()
    heads = [getattr(config, name, None) for name in ("num_attention_heads", "num_key_value_heads")]
    content.update(json.dumps([config.model_type, *heads]).encode())
    for name, weight in sorted(cast(Iterable[tuple[str, torch.Tensor]], model.named_parameters())):
        content.update(json.dumps([name, list(weight.shape)]).encode())
        values = weight.detach().flatten()
        sample = values[:: max(1, -(-len(values) // SAMPLE))].to("cpu", torch.bfloat16).contiguous()
        content.update(sample.view(torch.uint8).numpy().tobytes())
    return content.hexdigest()


def create(model: Any, lora: LoraConfig, seed: int) -> Any:
    """Add untrained adapters to a model. Raises ModelError where it has no module of a name."""
    text = {*model.get_decoder().modules()}
    outside = [
        name
        for name, module in model.named_modules()
        if name.rpartition(".")[2] in lora.target_modules and module not in text
    ]
    settings = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.target_modules),
        # Modules of an image encoder that have the same names.
        exclude_modules=outside or None,
    )
    with seeded(seed), without_weight_warnings():
        try:
            return peft.get_peft_model(model, settings)
        except ValueError as error:
            remedy = "name modules of this model in target_modules"
            raise ModelError("backbone.lora", pretrained.reason(error), remedy) from error


def load(
    folder: Path,
    notes: Notes | None,
    lora: LoraConfig | None,
    dtype: torch.dtype,
    *,
    trust_remote_code: bool,
    cache: Path | None,
) -> tuple[Any, Any, Base]:
    """Load adapters, their base and its tokenizer.

    Args:
        folder: Of the adapters.
        notes: Of the policy in it; None for adapters that another program trained.
        lora: The recipe's adapters, which these must match. They are trained further; None loads them to act only.
        dtype: Of the base's weights.
        trust_remote_code: Whether a base on the hub may run its own code.
        cache: Of converted models; see :func:`~step_hrl.models.pretrained.locate`.

    Returns:
        The model with its adapters; the tokenizer, the base's where the folder has none; what is known of the base.

    Raises ModelError where the base is missing or another one, or the adapters are incomplete or not those asked for.
    Raises one of :data:`~step_hrl.models.pretrained.LOADING_ERRORS` where files are missing or damaged.
    """
    if not any((folder / name).is_file() for name in _WEIGHT_FILES):
        raise ModelError(str(folder), f"no {_WEIGHT_FILES[0]} beside {CONFIG_FILE}", "copy the whole folder again")
    stored = str(json.loads((folder / CONFIG_FILE).read_text())[_BASE_KEY])
    source = _base_source(folder, stored, notes)
    located = pretrained.locate(source, cache)
    tokenizer_at = str(folder) if pretrained.has_tokenizer(folder) else located
    hf = pretrained.load_tokenizer(tokenizer_at, trust_remote_code=trust_remote_code)
    model: Any = pretrained.load_weights(located, dtype, trust_remote_code=trust_remote_code)
    base = Base(notes.base.source if notes and notes.base else source, digest(model))
    if notes and notes.base and notes.base != base:
        trained_on = f"{notes.base.source} with digest {notes.base.sha256[:16]}"
        got = f"adapters of another base (trained on {trained_on}, {located} has {base.sha256[:16]})"
        raise ModelError(str(folder), got, "restore the base that they were trained on, or train them again")
    is_trained = lora is not None
    with without_weight_warnings():
        model = _peft.PeftModel.from_pretrained(model, str(folder.resolve()), is_trainable=is_trained)
    settings = model.peft_config["default"]
    settings.base_model_name_or_path = located  # saving compares the vocabulary with the base's
    expected = _peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    pretrained.refuse_missing(str(folder), set(expected) - set(_peft.load_peft_weights(str(folder), device="cpu")))
    if lora is not None:
        _check_same(folder, settings, lora)
    return model, hf, base


def restore(model: Any, folder: Path, device: torch.device) -> None:
    """Load the weights of adapters into a model that has them already."""
    _peft.set_peft_model_state_dict(model, _peft.load_peft_weights(str(folder), device=str(device)))


def name_base(folder: Path, base: Base) -> None:
    """Replace the path in the cache by the hub id in files that PEFT has saved, where a named backbone is the base.

    PEFT itself can then open the adapters on any machine, on the hub's weights.
    """
    hub_id = named.hub_id(base.source)
    if hub_id is None:
        return
    file, card = folder / CONFIG_FILE, folder / "README.md"
    settings = json.loads(file.read_text())
    located, settings[_BASE_KEY] = str(settings[_BASE_KEY]), hub_id
    file.write_text(json.dumps(settings, indent=2, sort_keys=True))
    if card.is_file():
        card.write_text(card.read_text(encoding="utf-8").replace(located, hub_id), encoding="utf-8")


def _base_source(folder: Path, stored: str, notes: Notes | None) -> str:
    """The base's source: by name as noted, else the path that the adapters store, else as noted."""
    noted = notes.base.source if notes and notes.base else stored
    source = stored if noted not in named.BACKBONES and Path(stored).is_dir() else noted
    if pretrained.looks_local(source) and not Path(source).exists():
        remedy = f"put the base there, or name its folder as {_BASE_KEY} in {CONFIG_FILE}"
        raise ModelError(str(folder), f"adapters whose base {source} is missing", remedy)
    return source


def _check_same(folder: Path, saved: Any, lora: LoraConfig) -> None:
    modules = set(cast(Iterable[str], saved.target_modules))
    pairs = {"rank": (saved.r, lora.rank), "alpha": (saved.lora_alpha, lora.alpha)}
    pairs |= {"dropout": (saved.lora_dropout, lora.dropout), "target_modules": (modules, set(lora.target_modules))}
    for name, (actual, expected) in pairs.items():
        if actual != expected:
            remedy = f"set backbone.lora.{name} to the adapter's value"
            raise ModelError(str(folder), f"adapter with {name} {actual}, asked for {expected}", remedy)
