from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tests.asks import ask
from tests.tiny_model import TINY_CONFIG, tiny_backbone, transitions, weights
from transformers import AutoModelForCausalLM, AutoTokenizer

from step_hrl.config import BackboneConfig, BehaviorCloningConfig, GenerationConfig, LoraConfig, MuonConfig, RoleWeights
from step_hrl.engines.transformers import TransformersEngine
from step_hrl.errors import DataError, ModelError
from step_hrl.losses import utterance_log_likelihood
from step_hrl.models import backbone as backbones
from step_hrl.models.collate import collate, tokenize
from step_hrl.training.behavior_cloning import BehaviorCloning, run, train_behavior_cloning
from step_hrl.types import Role

QUICK = BehaviorCloningConfig(epochs=1, learning_rate=0.01, tokens_per_batch=512)
LONG = QUICK.model_copy(update={"epochs": 40.0, "optimizer": MuonConfig()})


def test_a_tiny_model_learns_the_demonstrated_utterances(tmp_path: Path) -> None:
    folder = run(LONG, TINY_CONFIG, transitions(), transitions(9), tmp_path, 0)
    policy = backbones.load(BackboneConfig(source=str(folder)), device="cpu")
    demonstrated = transitions()
    answers = TransformersEngine(policy, GenerationConfig()).generate([ask(t.role, t.state) for t in demonstrated])
    exact = sum(answer.text == t.utterance for answer, t in zip(answers, demonstrated, strict=True)) / len(demonstrated)
    assert exact > 0.7
    last = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["validation/exact_match_low"] > 0.6
    assert last["validation/loss_low"] < 0.5
    assert AutoModelForCausalLM.from_pretrained(folder).config.model_type == "llama"
    assert AutoTokenizer.from_pretrained(folder).eos_token == "<|end|>"


def test_the_total_is_a_weighted_mean_and_sums_by_role_are_not_weighted() -> None:
    backbone = tiny_backbone()
    batch = collate(tokenize(transitions(7), backbone.tokenizer, 128), backbone.tokenizer.pad)
    loss = -utterance_log_likelihood(backbone.score(batch).log_probs, batch.utterance_mask)
    weights_of = {Role.HIGH: 2.0, Role.LOW: 0.5, Role.PROGRESS: 0.0}
    objective = BehaviorCloning(backbone, RoleWeights(high=2.0, low=0.5, progress=0.0))
    losses = objective(batch)
    roles = [t.role for t in transitions(7)]
    expected = sum(weights_of[role] * float(value.detach()) for role, value in zip(roles, loss, strict=True)) / 7
    assert float(losses.total.detach()) == pytest.approx(expected, rel=1e-5)
    highs = [float(value.detach()) for role, value in zip(roles, loss, strict=True) if role is Role.HIGH]
    assert float(losses.sums["loss_high"].total) == pytest.approx(sum(highs), rel=1e-5)
    assert float(losses.sums["loss_high"].number) == len(highs)


def test_the_prompt_loss_weight_adds_the_mean_likelihood_of_the_prompts_tokens() -> None:
    backbone = tiny_backbone().eval()
    samples = tokenize(transitions(5), backbone.tokenizer, 128)
    batch = collate(samples, backbone.tokenizer.pad)
    with torch.no_grad():
        log_probs = backbone.model(input_ids=batch.input_ids).logits.log_softmax(dim=-1)
        plain = BehaviorCloning(backbone, RoleWeights())(batch)
        weighted = BehaviorCloning(backbone, RoleWeights(), prompt_loss_weight=0.5)(batch)
    of_prompts = 0.0
    for row, sample in enumerate(samples):
        prompt = sample.transitions[0].state
        chosen = [float(log_probs[row, place - 1, prompt[place]]) for place in range(1, len(prompt))]
        of_prompts += sum(chosen) / len(chosen)
    expected = float(plain.total) - 0.5 * of_prompts / len(samples)
    assert float(weighted.total) == pytest.approx(expected, rel=1e-4)
    assert float(weighted.sums["loss_low"].total) == pytest.approx(float(plain.sums["loss_low"].total), rel=1e-4)


def test_exact_match_needs_every_token_of_the_utterance() -> None:
    backbone = tiny_backbone().eval()
    samples = tokenize(transitions(7), backbone.tokenizer, 128)
    batch = collate(samples, backbone.tokenizer.pad)
    sums = BehaviorCloning(backbone, RoleWeights()).evaluate(batch)
    with torch.no_grad():
        best = backbone.model(input_ids=batch.input_ids).logits.argmax(dim=-1)
    for role in Role:
        rows = [row for row, sample in enumerate(samples) if sample.transitions[0].role is role]
        matches = 0
        for row in rows:
            sample = samples[row].transitions[0]
            start, end = len(sample.state), len(sample)
            matches += best[row, start - 1 : end - 1].tolist() == list(sample.utterance)
        assert float(sums[f"exact_match_{role}"].total) == matches
        assert float(sums[f"exact_match_{role}"].number) == len(rows)


def test_a_role_of_weight_0_is_not_trained_on(tmp_path: Path) -> None:
    only_high = QUICK.model_copy(update={"role_weights": RoleWeights(high=1, low=0, progress=0)})
    folder = run(only_high, TINY_CONFIG, transitions(), transitions(9), tmp_path, 0)
    line = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])
    assert "validation/loss_high" in line
    assert "validation/loss_low" not in line
    # Only the transitions of that role decide the result, once the tokens are the same.
    alone = tiny_backbone()
    highs = [t for t in transitions() if t.role is Role.HIGH]
    train_behavior_cloning(alone, highs, [], only_high, output=tmp_path / "alone", seed=0)
    assert torch.equal(weights(alone), weights(AutoModelForCausalLM.from_pretrained(folder)))
    with pytest.raises(DataError, match="no transitions"):
        run(only_high, TINY_CONFIG, [t for t in transitions() if t.role is Role.LOW], [], tmp_path / "none", 0)


def test_role_weights_change_the_weights(tmp_path: Path) -> None:
    plain = run(QUICK, TINY_CONFIG, transitions(), [], tmp_path / "plain", 0)
    config = QUICK.model_copy(update={"role_weights": RoleWeights(high=5.0)})
    heavy = run(config, TINY_CONFIG, transitions(), [], tmp_path / "heavy", 0)
    first, second = (weights(AutoModelForCausalLM.from_pretrained(folder)) for folder in (plain, heavy))
    assert not torch.equal(first, second)


def test_samples_longer_than_allowed_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="max_tokens_per_sample"):
        run(QUICK.model_copy(update={"max_tokens_per_sample": 10}), TINY_CONFIG, transitions(), [], tmp_path, 0)
    tight = TINY_CONFIG.model_copy(update={"tiny": TINY_CONFIG.tiny.model_copy(update={"context": 16})})
    with pytest.raises(DataError, match="where 16 fit"):
        run(QUICK, tight, transitions(), [], tmp_path, 0)


def test_an_adapter_finds_its_base(tmp_path: Path) -> None:
    base = run(QUICK, TINY_CONFIG, transitions(), [], tmp_path / "base", 0)
    lora = LoraConfig(rank=2, alpha=4, dropout=0.1)
    config = BackboneConfig(source=str(base), lora=lora)
    folder = run(QUICK, config, transitions(), [], tmp_path / "adapter", 0)
    assert (folder / "adapter_config.json").is_file()
    assert not (folder / "model.safetensors").exists()
    adapted = AutoModelForCausalLM.from_pretrained(folder)
    policy = backbones.load(BackboneConfig(source=str(folder)), device="cpu")
    before = backbones.load(BackboneConfig(source=str(base)), device="cpu")
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        expected = policy.eval().model(input_ids=ids).logits
        torch.testing.assert_close(adapted.eval()(input_ids=ids).logits, expected)
        assert not torch.allclose(before.eval().model(input_ids=ids).logits, expected)


def test_an_adapter_is_trained_further_only_if_asked(tmp_path: Path) -> None:
    base = run(QUICK, TINY_CONFIG, transitions(), [], tmp_path / "base", 0)
    lora = LoraConfig(rank=2, alpha=4)
    adapter = run(QUICK, BackboneConfig(source=str(base), lora=lora), transitions(), [], tmp_path / "adapter", 0)
    with pytest.raises(ModelError, match="nothing to train"):
        run(QUICK, BackboneConfig(source=str(adapter)), transitions(), [], tmp_path / "again", 0)
    more = run(QUICK, BackboneConfig(source=str(adapter), lora=lora), transitions(), [], tmp_path / "more", 0)
    first, second = (backbones.load(BackboneConfig(source=str(folder))) for folder in (adapter, more))
    assert not torch.equal(weights(first), weights(second))
