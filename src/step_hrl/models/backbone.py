"""The language model that all three roles share: load, score utterances, save."""
# ruff: noqa: F722  (jaxtyping writes shapes as strings)

from __future__ import annotations

import json
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import peft
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from step_hrl.config import BackboneConfig, LoraConfig, MixedPrecision, Quantization
from step_hrl.errors import ModelError
from step_hrl.models import gguf, tiny
from step_hrl.models.acting import acting_copy
from step_hrl.models.collate import TransitionBatch, rounded
from step_hrl.models.quiet import without_bars
from step_hrl.models.randomness import seeded
from step_hrl.models.tokenization import LineTokenizer

_peft = cast(Any, peft)  # partly annotated

ROWS_MULTIPLE = 128
"""The number of scored tokens is padded to a multiple of this; see :func:`~step_hrl.models.collate.rounded`."""
NOTES_FILE = "step_hrl.json"
"""A policy's own metadata beside the Hugging Face files: the prompt format it was trained with."""


class TokenScores(NamedTuple):
    """Log-probability of each selected token of a batch, and whether it was the most likely one.

    Elsewhere ``log_probs`` (nats) is 0 and ``correct`` is False.
    """

    log_probs: Float[Tensor, "rows length"]
    correct: Bool[Tensor, "rows length"]


class Backbone(nn.Module):
    """A causal language model and its tokenizer.

    Attributes:
        model: The Hugging Face model, or PEFT's wrapper of it.
        tokenizer: The encoding of both training and acting.
        name: Where the model was loaded from, as results report it.
        context: Maximum length of prompt and utterance together, in tokens.
    """

    def __init__(self, model: Any, tokenizer: LineTokenizer, name: str) -> None:
        """Wrap a model and its tokenizer."""
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.name = name
        self.context = int(getattr(model.config, "max_position_embeddings", None) or tokenizer.hf.model_max_length)

    @property
    def causal_model(self) -> Any:
        """The Hugging Face model without PEFT's wrapper; adapters stay in its layers."""
        return self.model.get_base_model() if isinstance(self.model, peft.PeftModel) else self.model

    @property
    def decoder(self) -> Any:
        """The Hugging Face model without its output head: tokens to hidden states."""
        return self.causal_model.base_model

    @property
    def device(self) -> torch.device:
        """The device that holds the weights."""
        return next(self.model.parameters()).device

    def autocast(self, choice: MixedPrecision) -> torch.autocast:
        """A context that computes in bfloat16 if that is chosen and the weights are float32."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self._casts(choice))

    def _casts(self, choice: MixedPrecision) -> bool:
        chosen = choice == "bf16" or (choice == "auto" and has_native_bfloat16(self.device))
        return chosen and self.model.dtype == torch.float32

    def hidden_states(self, batch: TransitionBatch) -> Float[Tensor, "rows length width"]:
        """The last layer's hidden state of every token."""
        # Rows are padded on the right and attention is causal: no real token attends to padding, so no mask is needed,
        # and kernels without a mask are faster.
        return self.decoder(input_ids=batch.input_ids, use_cache=False).last_hidden_state

    @contextmanager
    def acting(self, choice: MixedPrecision, quantize: Quantization = "none") -> Generator[Backbone]:
        """Yield a copy for generation: adapters merged, no dropout, no gradients, fused attention.

        This backbone stays as it is. Its copy shares all weights that neither adapters nor the precision change; if
        bfloat16 is chosen, its weights are bfloat16, because autocast would cast them again in every forward pass.

        Raises :class:`~step_hrl.errors.ModelError` where the device cannot act with the quantized weights.
        """
        if quantize == "int8" and self.device.type != "cpu":
            raise ModelError("generation.quantize", f"int8 on {self.device.type}", "only CPUs have it; use `none`")
        dtype = torch.bfloat16 if self._casts(choice) else None
        copy = acting_copy(self.model, dtype, int8=quantize == "int8")
        # With a key-value cache, unlike in training, fused attention is faster on every device. Not every model has it.
        copy.set_attn_implementation("sdpa" if copy._supports_sdpa else "eager")
        with torch.no_grad():
            yield Backbone(copy, self.tokenizer, self.name).eval()

    def logits(self, hidden: Float[Tensor, "*any width"]) -> Float[Tensor, "*any vocabulary"]:
        """Logits of the next token for the given hidden states, in float32."""
        logits = self.causal_model.get_output_embeddings()(hidden).float()
        cap = getattr(self.causal_model.config, "final_logit_softcapping", None)
        return logits if cap is None else torch.tanh(logits / cap) * cap

    def score(
        self,
        batch: TransitionBatch,
        tokens: Bool[Tensor, "rows length"] | None = None,
        hidden: Float[Tensor, "rows length width"] | None = None,
    ) -> TokenScores:
        """Log-probability of tokens given all tokens before them.

        ``tokens`` is a mask of the tokens to score (never the first of a row); None scores the utterances. Logits are
        computed for these tokens only, because prompts are an order of magnitude longer than utterances. ``hidden`` are
        the batch's hidden states if they are already computed.
        """
        scored = batch.utterance_mask if tokens is None else tokens
        states = self.hidden_states(batch) if hidden is None else hidden
        predicted = scored[:, 1:]
        targets = batch.input_ids[:, 1:][predicted]
        logits = self.logits(_pad_rows(states[:, :-1][predicted]))[: len(targets)]
        target_log_probs = -nn.functional.cross_entropy(logits, targets, reduction="none")
        log_probs = target_log_probs.new_zeros(batch.input_ids.shape).masked_scatter(scored, target_log_probs)
        correct = torch.zeros_like(scored).masked_scatter(scored, logits.detach().argmax(dim=-1) == targets)
        return TokenScores(log_probs, correct)

    def save(self, folder: Path) -> None:
        """Write weights (with LoRA, the adapter only), configuration and tokenizer in the Hugging Face format."""
        with without_bars():
            self.model.save_pretrained(str(folder))
        self.tokenizer.hf.save_pretrained(str(folder))
        (folder / NOTES_FILE).write_text(json.dumps({"prompt_format": self.tokenizer.prompt_format}) + "\n")

    def restore(self, folder: Path) -> None:
        """Load the weights (with LoRA, the adapter's only) that :meth:`save` wrote.

        Raises OSError, ValueError or RuntimeError for a folder without them.
        """
        if isinstance(self.model, peft.PeftModel):
            weights = _peft.load_peft_weights(str(folder), device=str(self.device))
            _peft.set_peft_model_state_dict(self.model, weights)
        else:
            with without_bars():
                saved = cast(Any, AutoModelForCausalLM).from_pretrained(str(folder), dtype=self.model.dtype)
            self.model.load_state_dict(saved.state_dict())


def _pad_rows(rows: Float[Tensor, "rows width"]) -> Float[Tensor, "padded width"]:
    """Append rows of zeros, so that kernels run on few different shapes."""
    return nn.functional.pad(rows, (0, 0, 0, rounded(len(rows), ROWS_MULTIPLE) - len(rows)))


def has_native_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 faster than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = cast(Any, torch.cpu).get_capabilities()
    return device.type == "cpu" and any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))


def load(
    config: BackboneConfig,
    *,
    texts: Iterable[str] | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    cache: Path | None = None,
) -> Backbone:
    """Load or create the backbone of a recipe.

    Args:
        config: What to load, and whether to add LoRA adapters. An adapter that the folder holds is used.
        texts: Prompts and utterances that the tokenizer of a ``tiny`` backbone is trained on.
        seed: Of newly initialized weights (a ``tiny`` model, new adapters).
        device: None selects a GPU if there is one.
        cache: Folder of converted GGUF files; None is :func:`~step_hrl.models.gguf.default_cache`.

    Raises :class:`~step_hrl.errors.ModelError`.
    """
    if config.source == "tiny":
        if config.lora is not None:
            raise ModelError(
                "backbone.lora", "adapters on an untrained model", "remove lora: `tiny` trains all weights"
            )
        if texts is None:
            raise ModelError("backbone.source", "`tiny` without texts", "give texts to train its tokenizer on")
        hf: Any = tiny.create_tokenizer(texts, config.tiny.vocabulary, config.tiny.context)
        model: Any = tiny.create_model(config.tiny, len(hf), hf.pad_token_id, hf.eos_token_id, seed)
        model = model.to(getattr(torch, config.dtype))
    else:
        source = config.source
        if source.endswith(".gguf"):
            if not Path(source).is_file():
                raise ModelError("backbone.source", f"no file {source}", "check the path of the GGUF file")
            source = str(gguf.convert(Path(source), cache or gguf.default_cache()))
        with without_bars():
            model, hf = _from_pretrained(source, config)
    if config.lora is not None and not isinstance(model, peft.PeftModel):
        model = _with_adapter(model, config.lora, seed)
    target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    # On CPUs, eager attention trains a fifth faster than the fused one at the lengths of step-level prompts.
    model.set_attn_implementation("eager" if target.type == "cpu" else "sdpa")
    return Backbone(model.to(target), LineTokenizer(hf, config.prompt_format), config.source)


def _from_pretrained(source: str, config: BackboneConfig) -> tuple[Any, Any]:
    folder = Path(source)
    if folder.is_dir():
        # An adapter stores the path of its base, which must be valid from any working directory.
        source = str(folder.resolve())
    looks_local = folder.exists() or source.startswith((".", "/", "~")) or source.count("/") > 1
    if looks_local and not (folder / "config.json").is_file() and not (folder / "adapter_config.json").is_file():
        raise ModelError("backbone.source", f"no model in {source}", "give a hub id, a model folder, a .gguf or `tiny`")
    _check_prompt_format(folder, config.prompt_format)
    options: dict[str, Any] = {"trust_remote_code": config.trust_remote_code}
    try:
        hf: Any = cast(Any, AutoTokenizer).from_pretrained(source, **options)
        if (folder / "adapter_config.json").is_file():
            return _load_adapter(folder, config, options), hf
        dtype = getattr(torch, config.dtype)
        return cast(Any, AutoModelForCausalLM).from_pretrained(source, dtype=dtype, **options), hf
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        remedy = "check the hub id or path (and the network, for a hub id)"
        raise ModelError("backbone.source", f"{source} cannot be loaded ({reason})", remedy) from error


def _load_adapter(folder: Path, config: BackboneConfig, options: dict[str, Any]) -> Any:
    base_source = str(json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"])
    base = cast(Any, AutoModelForCausalLM).from_pretrained(base_source, dtype=getattr(torch, config.dtype), **options)
    # The adapter is trained further only if the recipe has a LoRA section.
    model: Any = _peft.PeftModel.from_pretrained(base, str(folder.resolve()), is_trainable=config.lora is not None)
    if config.lora is not None:
        _check_same_adapter(folder, model.peft_config["default"], config.lora)
    return model


def _with_adapter(model: Any, lora: LoraConfig, seed: int) -> Any:
    settings = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.target_modules),
    )
    with seeded(seed):
        try:
            return peft.get_peft_model(model, settings)
        except ValueError as error:
            reason = " ".join(str(error).split())[:200]
            raise ModelError("backbone.lora", reason, "name modules of this model in target_modules") from error


def _check_same_adapter(folder: Path, saved: Any, lora: LoraConfig) -> None:
    modules = set(cast(Iterable[str], saved.target_modules))
    pairs = {"rank": (saved.r, lora.rank), "alpha": (saved.lora_alpha, lora.alpha)}
    pairs |= {"dropout": (saved.lora_dropout, lora.dropout), "target_modules": (modules, set(lora.target_modules))}
    for name, (actual, expected) in pairs.items():
        if actual != expected:
            remedy = f"set backbone.lora.{name} to the adapter's value"
            raise ModelError(str(folder), f"adapter with {name} {actual}, asked for {expected}", remedy)


def _check_prompt_format(folder: Path, expected: str) -> None:
    notes = folder / NOTES_FILE
    if not notes.is_file():
        return
    trained_with = json.loads(notes.read_text())["prompt_format"]
    if trained_with != expected:
        got = f"trained with {trained_with} prompts, asked for {expected}"
        raise ModelError(str(folder), got, f"set backbone.prompt_format={trained_with}")
