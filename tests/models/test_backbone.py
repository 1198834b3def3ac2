from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.tiny_model import TINY_CONFIG, chat_model, tiny_backbone, transitions, weights
from transformers import AutoModelForCausalLM, AutoTokenizer

from step_hrl.config import BackboneConfig, LoraConfig, TinyConfig
from step_hrl.errors import ModelError
from step_hrl.losses import utterance_log_likelihood
from step_hrl.models import backbone as backbones
from step_hrl.models.backbone import Backbone
from step_hrl.models.collate import TransitionBatch, collate, tokenize


def batch_of(backbone: Backbone, number: int = 6) -> TransitionBatch:
    return collate([tuple(tokenize(transitions(number), backbone.tokenizer, 128))], backbone.tokenizer.pad)


@torch.no_grad()
def test_scores_equal_those_of_the_whole_model_on_one_decision_at_a_time() -> None:
    backbone = tiny_backbone().eval()
    decisions = tokenize(transitions(6), backbone.tokenizer, 128)
    scores = backbone.score(collate([tuple(decisions)], backbone.tokenizer.pad, 16))
    for number, decision in enumerate(decisions):
        logits = backbone.model(input_ids=torch.tensor([[*decision.state, *decision.utterance]])).logits[0]
        ahead = logits[len(decision.state) - 1 : -1].log_softmax(dim=-1)
        utterance, length = torch.tensor(decision.utterance), len(decision.utterance)
        torch.testing.assert_close(scores.log_probs[number, :length], ahead.gather(1, utterance[:, None])[:, 0])
        assert (scores.log_probs[number, length:] == 0).all()
        assert (scores.correct[number, :length] == (ahead.argmax(dim=-1) == utterance)).all()
        assert not scores.correct[number, length:].any()


@torch.no_grad()
def test_other_decisions_and_padding_change_no_log_likelihood() -> None:
    backbone = tiny_backbone().eval()
    together = batch_of(backbone)
    values = utterance_log_likelihood(backbone.score(together).log_probs, together.utterance_mask)
    for number, tokens in enumerate(tokenize(transitions(6), backbone.tokenizer, 128)):
        alone = collate([(tokens,)], backbone.tokenizer.pad, multiple=64)
        value = utterance_log_likelihood(backbone.score(alone).log_probs, alone.utterance_mask)
        torch.testing.assert_close(values[number], value[0])


@torch.no_grad()
def test_layers_that_cannot_read_prefix_trees_are_named() -> None:
    backbone = tiny_backbone()
    backbone.causal_model.config.layer_types = ["full_attention", "linear_attention"]
    with pytest.raises(ModelError, match=r"cannot read prefix trees \(linear_attention\)"):
        backbone.hidden_states(batch_of(backbone))


def test_a_tiny_model_depends_on_its_seed_and_config_only() -> None:
    state = torch.random.get_rng_state()
    first, again, other = tiny_backbone(), tiny_backbone(), tiny_backbone(seed=1)
    assert torch.equal(weights(first), weights(again))
    assert not torch.equal(weights(first), weights(other))
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("field", "value", "shape"),
    [
        ("width", 48, lambda model: model.config.hidden_size),
        ("layers", 3, lambda model: len(model.model.layers)),
        ("heads", 4, lambda model: model.config.num_attention_heads),
        ("vocabulary", 300, lambda model: model.config.vocab_size),
        ("context", 256, lambda model: model.config.max_position_embeddings),
    ],
)
def test_each_field_of_a_tiny_model_shapes_it(field: str, value: int, shape) -> None:  # pyright: ignore
    config = TINY_CONFIG.model_copy(update={"tiny": TINY_CONFIG.tiny.model_copy(update={field: value})})
    assert shape(tiny_backbone(config).model) == value
    assert shape(tiny_backbone().model) != value


@pytest.mark.parametrize("lora", [None, LoraConfig(rank=2, alpha=4)])
def test_a_saved_model_loads_unchanged(tmp_path: Path, lora: LoraConfig | None) -> None:
    base = tiny_backbone()
    base.save(tmp_path / "base")
    config = BackboneConfig(source=str(tmp_path / "base"), lora=lora)
    backbone = backbones.load(config, device="cpu").eval()
    with torch.no_grad():
        for parameter in backbone.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.1)
    batch = batch_of(backbone)
    expected = backbone.score(batch).log_probs
    backbone.save(tmp_path / "policy")
    for asked in (None, lora):
        loaded = backbones.load(BackboneConfig(source=str(tmp_path / "policy"), lora=asked), device="cpu").eval()
        assert torch.equal(loaded.score(batch).log_probs, expected)
        trainable = sum(parameter.requires_grad for parameter in loaded.parameters())
        assert (trainable == 0) == (lora is not None and asked is None)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "policy")
    assert model.config.hidden_size == 32
    assert AutoTokenizer.from_pretrained(tmp_path / "policy").get_vocab() == backbone.tokenizer.hf.get_vocab()
    restored = backbones.load(config, device="cpu").eval()
    assert not torch.equal(restored.score(batch).log_probs, expected)
    restored.restore(tmp_path / "policy")
    assert torch.equal(restored.score(batch).log_probs, expected)


def test_lora_trains_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    lora = LoraConfig(rank=3, alpha=6, dropout=0.25, target_modules=("q_proj",))
    tiny_backbone().save(tmp_path)
    backbone = backbones.load(BackboneConfig(source=str(tmp_path), lora=lora), device="cpu")
    trained = {name: p for name, p in backbone.named_parameters() if p.requires_grad}
    assert len(trained) == 2 * 2
    assert all("q_proj.lora_" in name for name in trained)
    assert {tuple(p.shape) for p in trained.values()} == {(3, 32), (32, 3)}
    layer = backbone.causal_model.model.layers[0].self_attn.q_proj
    assert layer.scaling["default"] == 2.0
    assert layer.lora_dropout["default"].p == 0.25
    with pytest.raises(ModelError, match="target_modules"):
        backbones.load(BackboneConfig(source=str(tmp_path), lora=LoraConfig(target_modules=("nothing",))))
    with pytest.raises(ModelError, match="untrained"):
        tiny_backbone(TINY_CONFIG.model_copy(update={"lora": lora}))
    backbone.save(tmp_path / "adapter")
    more = lora.model_copy(update={"rank": 4})
    with pytest.raises(ModelError, match="adapter with rank 3, asked for 4"):
        backbones.load(BackboneConfig(source=str(tmp_path / "adapter"), lora=more))


def test_dtype_is_that_of_the_weights(tmp_path: Path) -> None:
    tiny_backbone().save(tmp_path)
    for dtype in ("float32", "bfloat16"):
        loaded = backbones.load(BackboneConfig(source=str(tmp_path), dtype=dtype), device="cpu")
        assert weights(loaded).dtype == getattr(torch, dtype)
        assert weights(tiny_backbone(TINY_CONFIG.model_copy(update={"dtype": dtype}))).dtype == getattr(torch, dtype)


def test_auto_precision_follows_the_hardware_and_spares_bfloat16_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, half = tiny_backbone(), tiny_backbone(TINY_CONFIG.model_copy(update={"dtype": "bfloat16"}))
    for native in (True, False):
        monkeypatch.setattr(backbones, "has_native_bfloat16", lambda device, native=native: native)
        assert plain.autocast("auto")._enabled is native
        assert plain.autocast("bf16")._enabled
        assert not plain.autocast("no")._enabled
        assert not half.autocast("bf16")._enabled
    assert isinstance(backbones.has_native_bfloat16(torch.device("cpu")), bool)


def test_a_policy_is_not_loaded_with_another_prompt_format(tmp_path: Path) -> None:
    tiny_backbone().save(tmp_path)
    with pytest.raises(ModelError, match="trained with plain prompts, asked for chat"):
        backbones.load(BackboneConfig(source=str(tmp_path), prompt_format="chat"))


@pytest.mark.parametrize(
    "source", ["/nowhere/model", "./nowhere", "/nowhere/model.gguf", "step-hrl-no-such-owner/no-such-model"]
)
def test_a_missing_model_is_one_clear_line(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"backbone\.source") as caught:
        backbones.load(BackboneConfig(source=source))
    assert "\n" not in str(caught.value)


def test_tiny_needs_texts_and_heads_that_fit() -> None:
    with pytest.raises(ModelError, match="texts"):
        backbones.load(BackboneConfig())
    with pytest.raises(ModelError, match="heads"):
        tiny_backbone(TINY_CONFIG.model_copy(update={"tiny": TinyConfig(width=32, heads=3)}))


def test_progress_bars_of_libraries_are_hidden_while_loading(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    tiny_backbone().save(tmp_path)
    backbones.load(BackboneConfig(source=str(tmp_path)), device="cpu").restore(tmp_path)
    assert "it/s" not in capfd.readouterr().err
    assert logging.is_progress_bar_enabled() == shown


def test_warnings_of_libraries_are_hidden_and_their_settings_restored(
    tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    from transformers.utils import logging

    before = (logging.get_verbosity(), list(warnings.filters))
    tiny_backbone().save(tmp_path / "base")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        config = BackboneConfig(source=str(tmp_path / "base"), lora=LoraConfig(rank=2))
        backbones.load(config, device="cpu").save(tmp_path / "policy")
        backbones.load(BackboneConfig(source=str(tmp_path / "policy")), device="cpu")
    assert [str(warning.message) for warning in caught] == []
    assert capfd.readouterr().err == ""
    assert (logging.get_verbosity(), list(warnings.filters)) == before


def test_code_of_a_hub_model_runs_only_where_it_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_backbone().save(tmp_path)
    passed: list[bool] = []
    original = AutoModelForCausalLM.from_pretrained

    def recording(*args: object, **options: object) -> object:
        passed.append(bool(options.get("trust_remote_code")))
        return original(*args, **options)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", recording)
    for trusted in (False, True):
        backbones.load(BackboneConfig(source=str(tmp_path), trust_remote_code=trusted), device="cpu")
    assert passed == [False, True]


def edit_json(file: Path, **changes: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def rename_weights(file: Path) -> None:
    save_file({f"other.{name}": weight for name, weight in load_file(file).items()}, file, metadata={"format": "pt"})


def lose_a_shard(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    tiny_backbone().model.save_pretrained(folder, max_shard_size="20KB")
    sorted(folder.glob("model-*"))[1].unlink()


def lose_the_tokenizer(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lose_the_tokenizer, "no tokenizer in this model folder"),
        (lambda folder: (folder / "tokenizer.json").write_text('{"model'), "cannot be loaded"),
        (lambda folder: (folder / "tokenizer.json").write_text("[]"), "cannot be loaded"),
        (lose_a_shard, "cannot be loaded .*model-00002"),
        (lambda folder: truncate(folder / "model.safetensors"), "cannot be loaded .*incomplete"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b""), "cannot be loaded .*header"),
        (lambda folder: rename_weights(folder / "model.safetensors"), r"weights are missing \(.*layers\.0.*, \.\.\.\)"),
        (
            lambda folder: edit_json(folder / "config.json", tie_word_embeddings=False),
            r"1 weights are missing \(lm_head",
        ),
        (lambda folder: edit_json(folder / "config.json", intermediate_size=16), "6 weights have another shape"),
        (lambda folder: (folder / "config.json").write_text("{"), "cannot be loaded"),
        (lambda folder: (folder / "step_hrl.json").write_text('{"prompt'), "step_hrl.json: cannot be read"),
        (lambda folder: (folder / "step_hrl.json").write_text("[]"), "step_hrl.json: cannot be read"),
        (lambda folder: edit_json(folder / "step_hrl.json", base=["x"]), "step_hrl.json: cannot be read"),
        (lambda folder: edit_json(folder / "step_hrl.json", prompt_layout=99), "prompt layout 99.*a newer step-hrl"),
        (
            lambda folder: (folder / "step_hrl.json").write_text('{"prompt_format": "plain"}'),
            "prompt layout 1, this version has 2; train the policy again, or use an older step-hrl",
        ),
    ],
)
def test_a_damaged_model_is_one_clear_line(tmp_path: Path, damage: Callable[[Path], object], message: str) -> None:
    folder = tmp_path / "model"
    tiny_backbone().save(folder)
    damage(folder)
    with pytest.raises(ModelError, match=message) as caught:
        backbones.load(BackboneConfig(source=str(folder)), device="cpu")
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda policy: truncate(policy / "adapter_model.safetensors"), "cannot be loaded .*incomplete"),
        (lambda policy: (policy / "adapter_model.safetensors").unlink(), "no adapter_model.safetensors"),
        (lambda policy: rename_weights(policy / "adapter_model.safetensors"), "16 weights are missing"),
        (lambda policy: (policy / "adapter_config.json").write_text("{"), "cannot be loaded"),
        (lambda policy: (policy / "adapter_config.json").write_text("[]"), "cannot be loaded"),
        (lambda policy: edit_json(policy / "adapter_config.json", peft_type="NONE"), "cannot be loaded"),
        (lambda policy: shutil.rmtree(policy.parent / "base"), "whose base .*base is missing"),
        (lambda policy: tiny_backbone(seed=1).save(policy.parent / "base"), "adapters of another base"),
    ],
)
def test_damaged_adapters_are_one_clear_line(tmp_path: Path, damage: Callable[[Path], object], message: str) -> None:
    tiny_backbone().save(tmp_path / "base")
    config = BackboneConfig(source=str(tmp_path / "base"), lora=LoraConfig(rank=2))
    backbones.load(config, device="cpu").save(tmp_path / "policy")
    damage(tmp_path / "policy")
    with pytest.raises(ModelError, match=message) as caught:
        backbones.load(BackboneConfig(source=str(tmp_path / "policy")), device="cpu")
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "policy") in str(caught.value)


def test_a_change_of_any_weight_of_the_base_is_seen_in_any_data_type(tmp_path: Path) -> None:
    base = tiny_backbone()
    base.save(tmp_path / "base")
    config = BackboneConfig(source=str(tmp_path / "base"), lora=LoraConfig(rank=2))
    backbones.load(config, device="cpu").save(tmp_path / "policy")
    for dtype in ("bfloat16", "float32"):
        backbones.load(BackboneConfig(source=str(tmp_path / "policy"), dtype=dtype), device="cpu")
    with torch.no_grad():
        base.causal_model.model.layers[1].mlp.up_proj.weight[0, 0] += 1
    base.save(tmp_path / "base")
    with pytest.raises(ModelError, match="adapters of another base"):
        backbones.load(BackboneConfig(source=str(tmp_path / "policy")), device="cpu")


def test_adapters_of_another_program_need_no_notes(tmp_path: Path) -> None:
    tiny_backbone().save(tmp_path / "base")
    config = BackboneConfig(source=str(tmp_path / "base"), lora=LoraConfig(rank=2))
    backbone = backbones.load(config, device="cpu")
    backbone.save(tmp_path / "adapter")
    (tmp_path / "adapter" / "step_hrl.json").unlink()
    loaded = backbones.load(BackboneConfig(source=str(tmp_path / "adapter")), device="cpu")
    assert torch.equal(weights(loaded), weights(backbone))
    assert loaded.base == backbone.base


@pytest.mark.parametrize("template", ["{% for", "{{ messages[5].content.text }}", "{{ raise_exception('no') }}"])
def test_a_chat_template_that_cannot_be_rendered_is_one_clear_line(tmp_path: Path, template: str) -> None:
    folder = chat_model(tmp_path)
    (folder / "chat_template.jinja").write_text(template)
    with pytest.raises(ModelError, match="chat template cannot be rendered"):
        backbones.load(BackboneConfig(source=str(folder), prompt_format="chat"), device="cpu")
