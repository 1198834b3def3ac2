"""Models act with a copy, whose weights are merged, cast or quantized, and stay as they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.tiny_model import chat_model, tiny_backbone
from torch import nn

from step_hrl.config import BackboneConfig, LoraConfig
from step_hrl.errors import ModelError
from step_hrl.models import backbone as backbones
from step_hrl.models.acting import Int8Linear
from step_hrl.models.backbone import Backbone

IDS = torch.arange(60).reshape(3, 20)


def adapted(folder: Path, targets: tuple[str, ...] = ("q_proj", "o_proj", "up_proj", "down_proj")) -> Backbone:
    """A tiny model with adapters that change what it says."""
    config = BackboneConfig(source=str(chat_model(folder)), lora=LoraConfig(rank=4, target_modules=targets))
    backbone = backbones.load(config, device="cpu")
    torch.manual_seed(0)
    for name, weight in backbone.named_parameters():
        if "lora_B" in name or "lora_embedding_B" in name:
            weight.data.normal_(0, 0.1)
    return backbone


def logits(backbone: Backbone) -> torch.Tensor:
    with torch.no_grad():
        return backbone.logits(backbone.decoder(input_ids=IDS, use_cache=False).last_hidden_state)


@pytest.mark.parametrize("targets", [("q_proj", "o_proj", "up_proj", "down_proj"), ("embed_tokens", "q_proj")])
def test_adapters_are_merged_in_a_copy_and_the_backbone_keeps_every_bit(
    tmp_path: Path, targets: tuple[str, ...]
) -> None:
    backbone = adapted(tmp_path, targets).train()
    before = {name: (weight, weight.data_ptr(), weight.clone()) for name, weight in backbone.named_parameters()}
    modules = [type(module) for module in backbone.modules()]
    attention = backbone.causal_model.config._attn_implementation
    expected = logits(backbone.eval())
    backbone.train()
    with backbone.acting("no") as acting:
        assert not acting.training
        assert not any(module.training for module in acting.modules())
        assert not torch.is_grad_enabled()
        torch.testing.assert_close(logits(acting), expected, atol=1e-5, rtol=1e-4)
        names = [name for name, _ in acting.named_parameters()]
        assert any("lora" in name for name in names) == ("embed_tokens" in targets), "a tied embedding is not merged"
    assert torch.is_grad_enabled()
    assert backbone.training
    assert backbone.causal_model.config._attn_implementation == attention
    assert [type(module) for module in backbone.modules()] == modules
    for name, weight in backbone.named_parameters():
        same, pointer, value = before[name]
        assert weight is same
        assert weight.data_ptr() == pointer
        assert torch.equal(weight, value)
    assert {name for name, weight in backbone.named_parameters() if weight.requires_grad} == {
        name for name in before if "lora" in name
    }


def test_weights_that_do_not_change_are_shared(tmp_path: Path) -> None:
    backbone = adapted(tmp_path)
    own = {weight.data_ptr() for weight in backbone.parameters()}
    with backbone.acting("no") as acting:
        changed = {name for name, weight in acting.named_parameters() if weight.data_ptr() not in own}
    assert {name.split(".")[-2] for name in changed} == {"q_proj", "o_proj", "up_proj", "down_proj"}


def test_training_continues_after_acting_as_if_nothing_happened(tmp_path: Path) -> None:
    def trained(acts: bool) -> list[torch.Tensor]:
        backbone = adapted(tmp_path / str(acts))
        optimizer = torch.optim.AdamW([weight for weight in backbone.parameters() if weight.requires_grad], lr=1e-2)
        for _ in range(2):
            if acts:
                with backbone.acting("bf16") as acting:
                    logits(acting)
            hidden = backbone.decoder(input_ids=IDS, use_cache=False).last_hidden_state
            backbone.logits(hidden).square().mean().backward()
            optimizer.step()
        return [weight.detach() for weight in backbone.parameters()]

    assert all(map(torch.equal, trained(acts=True), trained(acts=False)))


def test_bfloat16_weights_keep_buffers_in_float32() -> None:
    backbone = tiny_backbone()
    with backbone.acting("bf16") as acting:
        assert {weight.dtype for weight in acting.parameters()} == {torch.bfloat16}
        assert {buffer.dtype for buffer in acting.buffers()} == {torch.float32}
        expected = logits(backbone)
        assert 0 < (logits(acting) - expected).norm() / expected.norm() < 0.05
    assert {weight.dtype for weight in backbone.parameters()} == {torch.float32}


def test_int8_layers_come_close_and_keep_rows_apart() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(64, 48)
    quantized = Int8Linear(linear)
    rows = torch.randn(5, 7, 64)
    rows[0] *= 1000
    rows[1] = 0
    with torch.no_grad():
        expected, result = linear(rows), quantized(rows)
        errors = (result - expected).norm(dim=-1) / expected.norm(dim=-1)
        assert errors.max() < 0.02
        torch.testing.assert_close(quantized(rows[2:3, :1]), result[2:3, :1])
        assert quantized(rows.bfloat16()).dtype == torch.bfloat16


def test_acting_in_int8_quantizes_all_but_the_output_head(tmp_path: Path) -> None:
    backbone = adapted(tmp_path)
    expected = logits(backbone.eval())
    with backbone.acting("no", "int8") as acting:
        kinds = {name.split(".")[-1]: type(module) for name, module in acting.named_modules()}
        assert kinds["lm_head"] is nn.Linear
        assert {kinds[name] for name in ("q_proj", "k_proj", "o_proj", "gate_proj", "down_proj")} == {Int8Linear}
        assert 0 < (logits(acting) - expected).norm() / expected.norm() < 0.1


def test_int8_is_refused_on_other_devices() -> None:
    backbone = tiny_backbone().to("meta")
    with pytest.raises(ModelError, match=r"generation.quantize: int8 on meta"), backbone.acting("no", "int8"):
        pass
