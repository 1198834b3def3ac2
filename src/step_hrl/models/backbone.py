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

from step_hrl.config import BackboneConfig, LoraConfig, MixedPrecision
from step_hrl.errors import ModelError
from step_hrl.models import gguf, tiny
from step_hrl.models.collate import TransitionBatch, rounded
from step_hrl.models.quiet import without_bars
from step_hrl.models.randomness import seeded
from step_hrl.models.tokenization import LineTokenizer

_peft = cast(Any, peft)  # partly annotated

ROWS_MULTIPLE = 128
"""Tokens are scored in multiples of so many; see :func:`~step_hrl.models.collate.rounded`."""
NOTES_FILE = "step_hrl.json"
"""What a policy's folder says beyond the Hugging Face files: the prompt format it was trained with."""


class TokenScores(NamedTuple):
    """What the backbone thinks of each token of a batch; read only of the tokens that were asked for.

    ``log_probs`` (nats) is 0 elsewhere; ``correct`` says whether the token was the most likely one.
    """

    log_probs: Float[Tensor, "rows length"]
    correct: Bool[Tensor, "rows length"]


class Backbone(nn.Module):
    """A causal language model and its tokenizer.

    Attributes:
        model: the Hugging Face model, or PEFT's wrapper of it.
        tokenizer: the one encoding that training and acting use.
        name: where it was loaded from, as results should name it.
        context: most tokens of prompt and utterance together.
    """

    def __init__(self, model: Any, tokenizer: LineTokenizer, name: str) -> None:
        """Join a model with its tokenizer."""
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.name = name
        self.context = int(getattr(model.config, "max_position_embeddings", None) or tokenizer.hf.model_max_length)

    @property
    def causal_model(self) -> Any:
        """The Hugging Face model, without PEFT's wrapper (adapters stay inside its layers)."""
        return self.model.get_base_model() if isinstance(self.model, peft.PeftModel) else self.model

    @property
    def decoder(self) -> Any:
        """The Hugging Face model below its output head: tokens to hidden states."""
        return self.causal_model.base_model

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    def autocast(self, choice: MixedPrecision) -> torch.autocast:
        """A context that computes in bfloat16, if that is the choice and weights are not held in it anyway."""
        wanted = choice == "bf16" or (choice == "auto" and has_native_bfloat16(self.device))
        enabled = wanted and self.model.dtype == torch.float32
        return torch.autocast(self.device.type, torch.bfloat16, enabled=enabled)

    def hidden_states(self, batch: TransitionBatch) -> Float[Tensor, "rows length width"]:
        """Last layer's hidden state of every token."""
        # Rows are padded on the right and attention is causal: no real token sees padding, so no mask is needed,
        # and the unmasked kernels are faster.
        return self.decoder(input_ids=batch.input_ids, use_cache=False).last_hidden_state

    @contextmanager
    def acting(self, choice: MixedPrecision) -> Generator[None]:
        """A context to generate in: dropout off, attention fused, in the precision chosen; afterwards all as before."""
        was_training, attention = self.training, self.causal_model.config._attn_implementation
        self.train(False)
        # Reading beside a cache, unlike training, is faster with the fused attention on every device.
        self.model.set_attn_implementation("sdpa")
        try:
            # Not inference_mode: there autocast would cast the weights anew for every token.
            with torch.no_grad(), self.autocast(choice):
                yield
        finally:
            self.model.set_attn_implementation(attention)
            self.train(was_training)

    def logits(self, hidden: Float[Tensor, "*any width"]) -> Float[Tensor, "*any vocabulary"]:
        """Scores of the next token for chosen hidden states, in float32."""
        scores = self.causal_model.get_output_embeddings()(hidden).float()
        cap = getattr(self.causal_model.config, "final_logit_softcapping", None)
        return scores if cap is None else torch.tanh(scores / cap) * cap

    def score(
        self,
        batch: TransitionBatch,
        tokens: Bool[Tensor, "rows length"] | None = None,
        hidden: Float[Tensor, "rows length width"] | None = None,
    ) -> TokenScores:
        """Log-probability of tokens given all tokens before them.

        ``tokens`` says of which (never of the first in a row); None means the utterances', for prompts are an order of
        magnitude longer and the vocabulary is scored only where asked. ``hidden`` are the batch's hidden states, where
        they are known already.
        """
        scored = batch.utterance_mask if tokens is None else tokens
        states = self.hidden_states(batch) if hidden is None else hidden
        ahead = scored[:, 1:]
        targets = batch.input_ids[:, 1:][ahead]
        logits = self.logits(_in_steps(states[:, :-1][ahead]))[: len(targets)]
        chosen = -nn.functional.cross_entropy(logits, targets, reduction="none")
        log_probs = chosen.new_zeros(batch.input_ids.shape).masked_scatter(scored, chosen)
        correct = torch.zeros_like(scored).masked_scatter(scored, logits.detach().argmax(dim=-1) == targets)
        return TokenScores(log_probs, correct)

    def save(self, folder: Path) -> None:
        """Write weights (the adapter alone under LoRA), configuration and tokenizer in Hugging Face form."""
        with without_bars():
            self.model.save_pretrained(str(folder))
        self.tokenizer.hf.save_pretrained(str(folder))
        (folder / NOTES_FILE).write_text(json.dumps({"prompt_format": self.tokenizer.prompt_format}) + "\n")

    def restore(self, folder: Path) -> None:
        """Set the weights (the adapter's alone under LoRA) to those :meth:`save` wrote.

        Raises OSError, ValueError or RuntimeError for a folder that does not hold them.
        """
        if isinstance(self.model, peft.PeftModel):
            weights = _peft.load_peft_weights(str(folder), device=str(self.device))
            _peft.set_peft_model_state_dict(self.model, weights)
        else:
            with without_bars():
                saved = cast(Any, AutoModelForCausalLM).from_pretrained(str(folder), dtype=self.model.dtype)
            self.model.load_state_dict(saved.state_dict())


def _in_steps(rows: Float[Tensor, "rows width"]) -> Float[Tensor, "padded width"]:
    """Rows of zeros behind, so that kernels meet few different shapes."""
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
    """Load or make the backbone a recipe names.

    Args:
        config: what to load, and whether to add LoRA adapters. A folder that already holds an adapter is continued.
        texts: what a ``tiny`` backbone learns its tokens from: prompts and utterances.
        seed: of the weights that are made here (a ``tiny`` model, fresh adapters).
        device: None takes a GPU where there is one.
        cache: where converted GGUF files are kept; None is :func:`~step_hrl.models.gguf.default_cache`.

    Raises :class:`~step_hrl.errors.ModelError`.
    """
    if config.source == "tiny":
        if config.lora is not None:
            raise ModelError("backbone.lora", "adapters on an untrained model", "remove lora: `tiny` is trained whole")
        if texts is None:
            raise ModelError("backbone.source", "`tiny` without texts", "give the demonstrations it learns tokens from")
        hf: Any = tiny.create_tokenizer(texts, config.tiny.vocabulary, config.tiny.context)
        model: Any = tiny.create_model(config.tiny, len(hf), hf.pad_token_id, hf.eos_token_id, seed)
        model = model.to(getattr(torch, config.dtype))
    else:
        place = config.source
        if place.endswith(".gguf"):
            if not Path(place).is_file():
                raise ModelError("backbone.source", f"no file {place}", "check the path of the GGUF file")
            place = str(gguf.convert(Path(place), cache or gguf.default_cache()))
        with without_bars():
            model, hf = _from_pretrained(place, config)
    if config.lora is not None and not isinstance(model, peft.PeftModel):
        model = _with_adapter(model, config.lora, seed)
    target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    # On CPUs the plain attention trains a fifth faster than the fused one at the lengths of step-level prompts.
    model.set_attn_implementation("eager" if target.type == "cpu" else "sdpa")
    return Backbone(model.to(target), LineTokenizer(hf, config.prompt_format), config.source)


def _from_pretrained(place: str, config: BackboneConfig) -> tuple[Any, Any]:
    folder = Path(place)
    if folder.is_dir():
        # An adapter remembers where its base is: that must hold wherever it is loaded from.
        place = str(folder.resolve())
    looks_local = folder.exists() or place.startswith((".", "/", "~")) or place.count("/") > 1
    if looks_local and not (folder / "config.json").is_file() and not (folder / "adapter_config.json").is_file():
        raise ModelError("backbone.source", f"no model in {place}", "give a hub id, a model folder, a .gguf or `tiny`")
    _check_prompt_format(folder, config.prompt_format)
    options: dict[str, Any] = {"trust_remote_code": config.trust_remote_code}
    try:
        hf: Any = cast(Any, AutoTokenizer).from_pretrained(place, **options)
        if (folder / "adapter_config.json").is_file():
            return _load_adapter(folder, config, options), hf
        dtype = getattr(torch, config.dtype)
        return cast(Any, AutoModelForCausalLM).from_pretrained(place, dtype=dtype, **options), hf
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        remedy = "check the hub id or path (and the network, for a hub id)"
        raise ModelError("backbone.source", f"{place} cannot be loaded ({reason})", remedy) from error


def _load_adapter(folder: Path, config: BackboneConfig, options: dict[str, Any]) -> Any:
    base_place = str(json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"])
    base = cast(Any, AutoModelForCausalLM).from_pretrained(base_place, dtype=getattr(torch, config.dtype), **options)
    # Without a wish for LoRA the adapter is only to act with; with one, its training goes on.
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
            raise ModelError("backbone.lora", reason, "name modules this model has in target_modules") from error


def _check_same_adapter(folder: Path, held: Any, asked: LoraConfig) -> None:
    modules = set(cast(Iterable[str], held.target_modules))
    pairs = {"rank": (held.r, asked.rank), "alpha": (held.lora_alpha, asked.alpha)}
    pairs |= {"dropout": (held.lora_dropout, asked.dropout), "target_modules": (modules, set(asked.target_modules))}
    for name, (theirs, ours) in pairs.items():
        if theirs != ours:
            remedy = f"set backbone.lora.{name} to what the adapter has"
            raise ModelError(str(folder), f"adapter with {name} {theirs}, asked for {ours}", remedy)


def _check_prompt_format(folder: Path, asked: str) -> None:
    notes = folder / NOTES_FILE
    if not notes.is_file():
        return
    trained_with = json.loads(notes.read_text())["prompt_format"]
    if trained_with != asked:
        got = f"trained with {trained_with} prompts, asked for {asked}"
        raise ModelError(str(folder), got, f"set backbone.prompt_format={trained_with}")
