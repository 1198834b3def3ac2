"""The language model that all three roles share: load, score utterances, save."""
# ruff: noqa: F722  (jaxtyping writes shapes as strings)

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import peft
import torch
from jaxtyping import Bool, Float
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from step_hrl.config import BackboneConfig, MixedPrecision, Quantization
from step_hrl.errors import ModelError
from step_hrl.models import adapters, policy_folder, pretrained, tiny
from step_hrl.models.acting import acting_copy
from step_hrl.models.collate import TransitionBatch
from step_hrl.models.policy_folder import Base, Notes
from step_hrl.models.prefix_rows import rounded
from step_hrl.models.quiet import without_bars
from step_hrl.models.tokenization import LineTokenizer

ROWS_MULTIPLE = 128
"""The number of scored tokens is padded to a multiple of this; see :func:`~step_hrl.models.prefix_rows.rounded`."""


class TokenScores(NamedTuple):
    """Log-probability (nats) of each token of the utterances, and whether it was the most likely one.

    Outside ``utterance_mask``, ``log_probs`` is 0 and ``correct`` is False.
    """

    log_probs: Float[Tensor, "batch longest"]
    correct: Bool[Tensor, "batch longest"]


class Backbone(nn.Module):
    """A causal language model and its tokenizer.

    Attributes:
        model: The Hugging Face model, or PEFT's wrapper of it.
        tokenizer: The encoding of both training and acting.
        name: Where the model was loaded from, as results report it.
        base: The model without its adapters; None if it has none.
        context: Maximum length of prompt and utterance together, in tokens.
    """

    def __init__(self, model: Any, tokenizer: LineTokenizer, name: str, base: Base | None = None) -> None:
        """Wrap a model and its tokenizer."""
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.name = name
        self.base = base
        self.context = int(getattr(self._config, "max_position_embeddings", None) or tokenizer.hf.model_max_length)

    @property
    def causal_model(self) -> Any:
        """The Hugging Face model without PEFT's wrapper; adapters stay in its layers."""
        return self.model.get_base_model() if isinstance(self.model, peft.PeftModel) else self.model

    @property
    def decoder(self) -> Any:
        """The Hugging Face model without its output head: tokens to hidden states.

        Of a model that also reads images (Gemma 3), only the language model.
        """
        return self.causal_model.get_decoder()

    @property
    def width(self) -> int:
        """Size of a hidden state."""
        return int(self._config.hidden_size)

    @property
    def _config(self) -> Any:
        """The configuration of the language model, which models that also read images nest in theirs."""
        return self.causal_model.config.get_text_config()

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
        mask = self._attention_mask(batch)
        outputs = self.decoder(
            input_ids=batch.input_ids, position_ids=batch.position_ids, attention_mask=mask, use_cache=False
        )
        return outputs.last_hidden_state

    def _attention_mask(self, batch: TransitionBatch) -> Tensor | dict[str, Tensor]:
        """The mask in the form that the model reads; layers with a sliding window get one of their own."""
        config = self._config
        full = batch.attention_mask
        window = getattr(config, "sliding_window", None)
        distance = batch.position_ids[:, None, :, None] - batch.position_ids[:, None, None, :]
        near = full if window is None else full & (distance < window)
        masks = {"full_attention": full, "sliding_attention": near}
        if config._attn_implementation == "eager":
            lowest = torch.finfo(torch.float32).min
            zeros = torch.zeros(full.shape, device=full.device)
            masks = {kind: zeros.masked_fill(~mask, lowest) for kind, mask in masks.items()}
        only = "full_attention" if window is None else "sliding_attention"
        kinds = set(getattr(config, "layer_types", None) or [only])
        if unknown := ", ".join(sorted(kinds - masks.keys())):
            remedy = "train a model whose layers are all attention, full or with a sliding window"
            raise ModelError("backbone.source", f"layers that cannot read prefix trees ({unknown})", remedy)
        return masks if len(kinds) > 1 else masks[kinds.pop()]

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
        copy.set_attn_implementation(_fused_attention(copy))
        with torch.no_grad():
            yield Backbone(copy, self.tokenizer, self.name).eval()

    def logits(self, hidden: Float[Tensor, "*any width"]) -> Float[Tensor, "*any vocabulary"]:
        """Logits of the next token for the given hidden states, in float32."""
        logits = self.causal_model.get_output_embeddings()(hidden).float()
        cap = getattr(self._config, "final_logit_softcapping", None)
        return logits if cap is None else torch.tanh(logits / cap) * cap

    def score(self, batch: TransitionBatch, hidden: Float[Tensor, "rows length width"] | None = None) -> TokenScores:
        """Log-probability of the utterances' tokens, each given the state and the tokens before it.

        Logits are computed for these tokens only, because prompts are an order of magnitude longer than utterances.
        ``hidden`` are the batch's hidden states if they are already computed.
        """
        states = self.hidden_states(batch) if hidden is None else hidden
        inside = batch.utterance_mask
        targets = batch.input_ids.flatten()[batch.utterance_path[:, 1:][inside]]
        predictors = states.flatten(0, 1)[batch.utterance_path[:, :-1][inside]]
        logits = self.logits(_pad_rows(predictors))[: len(targets)]
        target_log_probs = -nn.functional.cross_entropy(logits, targets, reduction="none")
        log_probs = target_log_probs.new_zeros(inside.shape).masked_scatter(inside, target_log_probs)
        correct = torch.zeros_like(inside).masked_scatter(inside, logits.detach().argmax(dim=-1) == targets)
        return TokenScores(log_probs, correct)

    def save(self, folder: Path) -> None:
        """Write weights (with LoRA, the adapter only), configuration and tokenizer in the Hugging Face format."""
        with without_bars():
            self.model.save_pretrained(str(folder))
        self.tokenizer.hf.save_pretrained(str(folder))
        if self.base is not None:
            adapters.name_base(folder, self.base)
        policy_folder.write_notes(folder, Notes(self.tokenizer.prompt_format, base=self.base))

    def restore(self, folder: Path) -> None:
        """Load the weights (with LoRA, the adapter's only) that :meth:`save` wrote.

        Raises OSError, ValueError or RuntimeError for a folder without them.
        """
        try:
            if isinstance(self.model, peft.PeftModel):
                adapters.restore(self.model, folder, self.device)
            else:
                with without_bars():
                    saved = cast(Any, AutoModelForCausalLM).from_pretrained(str(folder), dtype=self.model.dtype)
                self.model.load_state_dict(saved.state_dict())
        except SafetensorError as error:
            raise ValueError(str(error)) from error


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
    base = None
    if config.source == "tiny":
        model, hf = _untrained(config, texts, seed)
    else:
        model, hf, base = _from_pretrained(config, cache)
    if config.lora is not None and not isinstance(model, peft.PeftModel):
        base = Base(pretrained.absolute(config.source), adapters.digest(model))
        model = adapters.create(model, config.lora, seed)
    target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    # On CPUs, eager attention trains a fifth faster than the fused one at the lengths of step-level prompts.
    model.set_attn_implementation("eager" if target.type == "cpu" else _fused_attention(model))
    return Backbone(model.to(target), LineTokenizer(hf, config.prompt_format), config.source, base)


def _untrained(config: BackboneConfig, texts: Iterable[str] | None, seed: int) -> tuple[Any, Any]:
    if config.lora is not None:
        raise ModelError("backbone.lora", "adapters on an untrained model", "remove lora: `tiny` trains all weights")
    if texts is None:
        raise ModelError("backbone.source", "`tiny` without texts", "give texts to train its tokenizer on")
    hf: Any = tiny.create_tokenizer(texts, config.tiny.vocabulary, config.tiny.context)
    model: Any = tiny.create_model(config.tiny, len(hf), hf.pad_token_id, hf.eos_token_id, seed)
    return model.to(getattr(torch, config.dtype)), hf


def _from_pretrained(config: BackboneConfig, cache: Path | None) -> tuple[Any, Any, Base | None]:
    """Model, tokenizer and the base of the adapters, if it has any."""
    source = pretrained.locate(config.source, cache)
    folder = Path(source)
    has_adapters = (folder / adapters.CONFIG_FILE).is_file()
    if pretrained.looks_local(source) and not (folder / "config.json").is_file() and not has_adapters:
        remedy = "give a hub id, a model folder, a .gguf or `tiny`"
        raise ModelError("backbone.source", f"no model in {source}", remedy)
    notes = policy_folder.read_notes(folder)
    if notes is not None:
        policy_folder.check_prompts(folder, notes, config.prompt_format)
    trust, dtype = config.trust_remote_code, getattr(torch, config.dtype)
    try:
        if has_adapters:
            return adapters.load(folder, notes, config.lora, dtype, trust_remote_code=trust, cache=cache)
        hf = pretrained.load_tokenizer(source, trust_remote_code=trust)
        return pretrained.load_weights(source, dtype, trust_remote_code=trust), hf, None
    except pretrained.LOADING_ERRORS as error:
        raise pretrained.failure(config.source, source, error) from error


def _fused_attention(model: Any) -> str:
    """Fused attention, or eager attention for models that cap its logits (Gemma 2), which the fused kernel cannot."""
    is_capped = getattr(model.config.get_text_config(), "attn_logit_softcapping", None) is not None
    return "sdpa" if model._supports_sdpa and not is_capped else "eager"
