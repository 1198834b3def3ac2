from __future__ import annotations

import json
from dataclasses import replace
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
from step_hrl.models.backbone import Backbone, TokenScores
from step_hrl.models.collate import TransitionBatch, TransitionTokens, collate, tokenize
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
    batch = collate([tuple(tokenize(transitions(7), backbone.tokenizer, 128))], backbone.tokenizer.pad)
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


def test_exact_match_needs_every_token_of_the_utterance() -> None:
    backbone = tiny_backbone().eval()
    decisions = tokenize(transitions(7), backbone.tokenizer, 128)
    sums = BehaviorCloning(backbone, RoleWeights()).evaluate(collate([tuple(decisions)], backbone.tokenizer.pad))
    for role in Role:
        of_role = [decision for decision in decisions if decision.role is role]
        matches = 0
        for decision in of_role:
            with torch.no_grad():
                ids = torch.tensor([[*decision.state, *decision.utterance]])
                best = backbone.model(input_ids=ids).logits[0].argmax(dim=-1)
            matches += best[len(decision.state) - 1 : -1].tolist() == list(decision.utterance)
        assert float(sums[f"exact_match_{role}"].total) == matches
        assert float(sums[f"exact_match_{role}"].number) == len(of_role)


def test_copy_is_the_exact_match_of_utterances_with_a_new_word(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = tiny_backbone()
    cases = [
        (Role.LOW, True, (True, True)),
        (Role.LOW, True, (True, False)),
        (Role.LOW, True, (False, True)),
        (Role.LOW, False, (True, True)),
        (Role.HIGH, False, (True, True)),
        (Role.PROGRESS, True, (True,)),
    ]
    decisions = tuple(
        TransitionTokens(role, (9, number + 10), (5,) * len(correct), is_novel=novel)
        for number, (role, novel, correct) in enumerate(cases)
    )

    def score(self: Backbone, batch: TransitionBatch) -> TokenScores:
        right = torch.tensor([[*correct, *([False] * (2 - len(correct)))] for _, _, correct in cases])
        return TokenScores(torch.zeros(right.shape), right)

    monkeypatch.setattr(Backbone, "score", score)
    batch = collate([decisions], backbone.tokenizer.pad)
    sums = BehaviorCloning(backbone, RoleWeights()).evaluate(batch)
    found = {name: (float(total), float(number)) for name, (total, number) in sums.items() if "loss" not in name}
    assert found == {
        "exact_match_high": (1, 1),
        "exact_match_low": (2, 4),
        "exact_match_progress": (1, 1),
        "copy_high": (0, 0),
        "copy_low": (1, 3),
        "copy_progress": (1, 1),
    }


def test_copy_is_measured_where_validation_has_words_that_training_has_not(tmp_path: Path) -> None:
    known, *_ = [t for t in transitions(9) if t.role is Role.LOW]
    new = replace(known, utterance="take zebra; True")
    for name, validation, measured in (("known", [known], False), ("new", [known, new], True)):
        train_behavior_cloning(tiny_backbone(), transitions(), validation, QUICK, output=tmp_path / name, seed=0)
        line = json.loads((tmp_path / name / "metrics.jsonl").read_text().splitlines()[-1])
        assert ("validation/copy_low" in line) == measured
        assert "validation/exact_match_low" in line
        assert "validation/copy_high" not in line


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
