"""Small random models of well-known families, each with the architecture, tokenizer and chat template of its family.

Sizes are tiny; everything that differs between families is kept: sliding windows, capped logits, normalized queries and
keys, layers without positions, tied output heads, SentencePiece-like or byte-level tokens, special tokens, templates.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from tests.tiny_model import transitions

SLIDING_WINDOW = 12
"""Tokens that a layer with a sliding window attends to; every prompt is longer."""
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]

_LLAMA_CHAT = (
    "{{- bos_token }}\n"
    "{%- if not date_string is defined %}\n"
    "    {%- if strftime_now is defined %}\n"
    '        {%- set date_string = strftime_now("%d %b %Y") %}\n'
    "    {%- else %}\n"
    '        {%- set date_string = "26 Jul 2024" %}\n'
    "    {%- endif %}\n"
    "{%- endif %}\n"
    '{{- "<|start_header_id|>system<|end_header_id|>\\n\\nToday Date: " + date_string + "\\n\\n<|eot_id|>" }}\n'
    "{%- for message in messages %}\n"
    "    {{- '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' + message.content | trim }}\n"
    "    {{- '<|eot_id|>' }}\n"
    "{%- endfor %}\n"
    "{%- if add_generation_prompt %}\n"
    "    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}\n"
    "{%- endif %}\n"
)
_INST_CHAT = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + message['content'] + eos_token }}{% endif %}{% endfor %}"
)
_GEMMA_CHAT = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for message in messages %}"
    "{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
_CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_QWEN3_CHAT = (
    "{%- for message in messages %}\n"
    "    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}\n"
    "{%- endfor %}\n"
    "{%- if add_generation_prompt %}\n"
    "    {{- '<|im_start|>assistant\\n' }}\n"
    "    {%- if enable_thinking is defined and enable_thinking is false %}\n"
    "        {{- '<think>\\n\\n</think>\\n\\n' }}\n"
    "    {%- endif %}\n"
    "{%- endif %}"
)
_SMOLLM3_CHAT = (
    "{%- if enable_thinking is not defined -%}{%- set enable_thinking = true -%}{%- endif -%}\n"
    "{%- set reasoning_mode = '/think' if enable_thinking else '/no_think' -%}\n"
    '{%- set today = strftime_now("%d %B %Y") -%}\n'
    "{{- '<|im_start|>system\\nToday Date: ' ~ today ~ '\\nReasoning Mode: ' + reasoning_mode + '<|im_end|>\\n' -}}\n"
    "{%- for message in messages -%}\n"
    "    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' -}}\n"
    "{%- endfor -%}\n"
    "{%- if add_generation_prompt -%}\n"
    "    {{- '<|im_start|>assistant\\n' -}}\n"
    "    {%- if not enable_thinking -%}{{- '<think>\\n\\n</think>\\n' -}}{%- endif -%}\n"
    "{%- endif -%}"
)
_LLAMA_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN_WORDS = _LLAMA_WORDS.replace(r"\p{N}{1,3}", r"\p{N}")


@dataclass(frozen=True, slots=True)
class Family:
    """A family of models.

    Attributes:
        name: Of the family.
        tokenizer: Makes its tokenizer.
        config: Name of its configuration class.
        sizes: What its configuration adds to the common sizes.
        chat: A user's turn after its chat template, without thinking; ``{prompt}`` stands for the prompt.
        tokenizer_class: That published tokenizers of the family name; their files are read by it.
        adds_beginning: Whether the tokenizer puts a beginning-of-text token before a text.
    """

    name: str
    tokenizer: Callable[[], PreTrainedTokenizerFast]
    config: str
    sizes: dict[str, Any]
    chat: str
    tokenizer_class: str = "PreTrainedTokenizerFast"
    adds_beginning: bool = False

    def save(self, folder: Path) -> Path:
        """Write a random model and its tokenizer to a folder, and return the folder."""
        tokenizer = self.tokenizer()
        tokenizer.save_pretrained(str(folder))
        settings = json.loads((folder / "tokenizer_config.json").read_text())
        if self.tokenizer_class != "PreTrainedTokenizerFast":
            settings["add_bos_token"] = self.adds_beginning
        (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "tokenizer_class": self.tokenizer_class}))
        text: dict[str, Any] = {
            # Embeddings have spare rows, as those of most published models.
            "vocab_size": -(-len(tokenizer) // 64) * 64,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 256,
            # So large that replies depend on the prompt.
            "initializer_range": 0.3,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
            **self.sizes,
        }
        config = getattr(transformers, self.config)(**_with_vision(text) if self.config == "Gemma3Config" else text)
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            model: Any = AutoModelForCausalLM.from_config(config)
            with torch.no_grad():
                for parameter in model.parameters():
                    # Norms and biases start as zeros or ones, which would hide how a family uses them.
                    parameter.add_(0.1 * torch.randn(parameter.shape))
                # Large embeddings with a tied head would make a model repeat its last token.
                model.get_input_embeddings().weight.mul_(0.2)
        model.save_pretrained(str(folder))
        return folder


def _with_vision(text: dict[str, Any]) -> dict[str, Any]:
    """Sizes of a language model that also reads images, which take its last tokens."""
    last = text["vocab_size"] - 1
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    return {
        "text_config": text,
        "vision_config": {**vision, "image_size": 28, "patch_size": 14, "model_type": "siglip_vision_model"},
        "mm_tokens_per_image": 4,
        "boi_token_index": last,
        "eoi_token_index": last - 1,
        "image_token_index": last - 2,
        "eos_token_id": text["eos_token_id"],
        "pad_token_id": text["pad_token_id"],
    }


@cache
def _pieces(byte_level: bool) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges of words, each with the space before it."""
    tokenizer: Any = Tokenizer(models.BPE())
    kind = pre_tokenizers.ByteLevel(add_prefix_space=False) if byte_level else pre_tokenizers.Metaspace()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split("\n", "removed"), kind])
    alphabet = pre_tokenizers.ByteLevel.alphabet() if byte_level else []
    trainer = trainers.BpeTrainer(vocab_size=360, initial_alphabet=alphabet, show_progress=False)  # pyright: ignore
    texts = [text for t in transitions() for text in (t.state, f"it is {t.utterance}")]
    tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [(left, right) for left, right in model["merges"]]


def _add_beginning(tokenizer: Any, token: str) -> None:
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{token} $A", special_tokens=[(token, tokenizer.token_to_id(token))]
    )


def _byte_level(
    words: str | None,
    special: Sequence[str],
    chat: str,
    *,
    plain: Sequence[str] = (),
    beginning: str | None = None,
    **names: str,
) -> PreTrainedTokenizerFast:
    """Tokens of bytes, as in Llama 3, Qwen and SmolLM; added tokens follow the words, as theirs do.

    ``words`` is the expression that divides texts before merging; None divides digits and words as GPT-2 does.
    """
    vocabulary, merges = _pieces(byte_level=True)
    tokenizer: Any = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=beginning is not None))
    if words is None:
        split: Any = pre_tokenizers.Digits(individual_digits=True)
        bytes_of = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    else:
        split = pre_tokenizers.Split(Regex(words), "isolated")
        bytes_of = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, bytes_of])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in plain])
    if beginning is not None:
        _add_beginning(tokenizer, beginning)
    return _wrap(tokenizer, chat, names)


def _metaspace(special: Sequence[str], newlines: Sequence[str] = ()) -> Any:
    """The model of a converted SentencePiece tokenizer: special tokens, bytes, letters, words that start with a ▁."""
    words, merges = _pieces(byte_level=False)
    tokens = [*special, *newlines, *BYTES, "Ċ", *words]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    model = models.BPE(vocab=vocabulary, merges=merges, byte_fallback=True, fuse_unk=True, unk_token="<unk>")
    tokenizer: Any = Tokenizer(model)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in newlines])
    return tokenizer


def _llama2_kind() -> PreTrainedTokenizerFast:
    """As Llama 2's and Mistral's: the normalizer puts a space before every text, without a look at the text."""
    tokenizer = _metaspace(["<unk>", "<s>", "</s>"])
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    _add_beginning(tokenizer, "<s>")
    return _wrap(tokenizer, _INST_CHAT, {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"})


def _gemma_kind() -> PreTrainedTokenizerFast:
    """No space before a text; line ends are tokens of their own, and longer runs of them too."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<start_of_turn>", "<end_of_turn>"]
    tokenizer = _metaspace(special, ["\n", "\n\n", "\n\n\n"])
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    _add_beginning(tokenizer, "<bos>")
    names = {"unk_token": "<unk>", "bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"}
    return _wrap(tokenizer, _GEMMA_CHAT, names)


def _llama3_kind() -> PreTrainedTokenizerFast:
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    names = {"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>"}
    return _byte_level(_LLAMA_WORDS, special, _LLAMA_CHAT, beginning="<|begin_of_text|>", **names)


def _chatml_kind(words: str | None, chat: str, plain: Sequence[str] = ()) -> Callable[[], PreTrainedTokenizerFast]:
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    names = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    return lambda: _byte_level(words, special, chat, plain=plain, **names)


def _wrap(tokenizer: Any, chat: str, names: dict[str, str]) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, chat_template=chat, clean_up_tokenization_spaces=False, **names
    )


_ALTERNATING = ["sliding_attention", "full_attention"]
_GEMMA_CHAT_PROMPT = "<bos><start_of_turn>user\n{prompt}<end_of_turn>\n<start_of_turn>model\n"
_GEMMA3_SIZES: dict[str, Any] = {
    "head_dim": 16,
    "query_pre_attn_scalar": 16,
    "sliding_window": SLIDING_WINDOW,
    "num_hidden_layers": 3,
    "layer_types": ["sliding_attention", *_ALTERNATING],
}
_CHATML_PROMPT = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
)
FAMILIES = (
    Family(
        "llama-2",
        _llama2_kind,
        "LlamaConfig",
        {"num_key_value_heads": 4, "tie_word_embeddings": False},
        "<s>[INST] {prompt} [/INST]",
        "LlamaTokenizer",
        adds_beginning=True,
    ),
    Family(
        "llama-3",
        _llama3_kind,
        "LlamaConfig",
        {
            "tie_word_embeddings": False,
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 500000.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            },
        },
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nToday Date: 26 Jul 2024\n\n<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\n{prompt}<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        adds_beginning=True,
    ),
    Family(
        "mistral",
        _llama2_kind,
        "MistralConfig",
        {"sliding_window": SLIDING_WINDOW, "head_dim": 16, "tie_word_embeddings": False},
        "<s>[INST] {prompt} [/INST]",
        "LlamaTokenizer",
        adds_beginning=True,
    ),
    Family(
        "gemma-2",
        _gemma_kind,
        "Gemma2Config",
        {
            "head_dim": 16,
            "query_pre_attn_scalar": 16,
            "sliding_window": SLIDING_WINDOW,
            "layer_types": _ALTERNATING,
            "final_logit_softcapping": 6.0,
            "attn_logit_softcapping": 4.0,
        },
        _GEMMA_CHAT_PROMPT,
        "GemmaTokenizer",
        adds_beginning=True,
    ),
    Family(
        "gemma-3",
        _gemma_kind,
        "Gemma3TextConfig",
        _GEMMA3_SIZES,
        _GEMMA_CHAT_PROMPT,
        "GemmaTokenizer",
        adds_beginning=True,
    ),
    Family(
        "gemma-3-vision",
        _gemma_kind,
        "Gemma3Config",
        _GEMMA3_SIZES,
        _GEMMA_CHAT_PROMPT,
        "GemmaTokenizer",
        adds_beginning=True,
    ),
    Family(
        "qwen-2.5",
        _chatml_kind(_QWEN_WORDS, _CHATML),
        "Qwen2Config",
        {"tie_word_embeddings": True},
        _CHATML_PROMPT,
        "Qwen2Tokenizer",
    ),
    Family(
        "qwen-3",
        _chatml_kind(_QWEN_WORDS, _QWEN3_CHAT, ["<think>", "</think>"]),
        "Qwen3Config",
        {"head_dim": 16, "tie_word_embeddings": False},
        "<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
        "Qwen2Tokenizer",
    ),
    Family(
        "smollm-2",
        _chatml_kind(None, _CHATML),
        "LlamaConfig",
        {"tie_word_embeddings": True},
        _CHATML_PROMPT,
        "GPT2Tokenizer",
    ),
    Family(
        "smollm-3",
        _chatml_kind(_LLAMA_WORDS, _SMOLLM3_CHAT, ["<think>", "</think>"]),
        "SmolLM3Config",
        {"num_hidden_layers": 3, "no_rope_layers": [1, 0, 1], "tie_word_embeddings": True},
        "<|im_start|>system\nToday Date: 26 Jul 2024\nReasoning Mode: /no_think<|im_end|>\n"
        "<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n",
    ),
)
