"""A small Llama with random weights, and a byte-level BPE trained on the texts that it will read and write."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from step_hrl.config import TinyConfig
from step_hrl.errors import ModelError
from step_hrl.models.randomness import seeded

END_OF_TEXT = "<|end|>"
PADDING = "<|pad|>"
# A token is at most one of these: a line end with the label after it ("\nSubtask:", half a dozen in each prompt),
# a word, one digit, a run of punctuation.
_PRETOKENS = Regex(r"\n(?:[A-Z][A-Za-z ]{0,24}:)?| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s")


def create_tokenizer(texts: Iterable[str], vocabulary: int, context: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE. The same texts in the same order give the same tokenizer.

    Args:
        texts: The training corpus; any other text can still be encoded, if in more tokens.
        vocabulary: Maximum number of entries, at least 258 (the bytes and two special tokens).
        context: Longest input of the model, in tokens.

    Raises ModelError for a vocabulary that is too small.
    """
    if vocabulary < 258:
        remedy = "give at least 258: the bytes and two special tokens"
        raise ModelError("backbone.tiny.vocabulary", str(vocabulary), remedy)
    tokenizer: Any = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(_PRETOKENS, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer: Any = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=[PADDING, END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PADDING,
        eos_token=END_OF_TEXT,
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )


def create_model(config: TinyConfig, vocabulary: int, pad: int, end: int, seed: int) -> LlamaForCausalLM:
    """Create an untrained Llama: SwiGLU of 8/3 the width, rotary positions, tied embeddings.

    ``pad`` and ``end`` are token ids. The global random state does not change. Raises ModelError where ``config.heads``
    does not divide the width into even parts.
    """
    if config.width % config.heads or (config.width // config.heads) % 2:
        remedy = "choose a width that is an even multiple of heads"
        raise ModelError("backbone.tiny", f"width {config.width} for {config.heads} heads", remedy)
    shape = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=config.width,
        intermediate_size=round(config.width * 8 / 3 / 16) * 16,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.heads,
        max_position_embeddings=config.context,
        tie_word_embeddings=True,
        # Embeddings of unit norm: with the usual 0.02, narrow models learn several times slower.
        initializer_range=config.width**-0.5,
        bos_token_id=None,
        eos_token_id=end,
        pad_token_id=pad,
    )
    with seeded(seed):
        return LlamaForCausalLM(shape)
