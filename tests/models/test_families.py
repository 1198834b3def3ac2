"""Every supported family of models: tokens, log-probabilities, replies, both training stages, and plain reopening."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from peft import AutoPeftModelForCausalLM, PeftModel
from tests.asks import ask
from tests.model_families import FAMILIES, SLIDING_WINDOW, Family
from tests.tiny_model import transitions, weights
from transformers import AutoModelForCausalLM, AutoTokenizer

from step_hrl.config import (
    BackboneConfig,
    BehaviorCloningConfig,
    GenerationConfig,
    LoraConfig,
    MaxNewTokens,
    OfflineRLConfig,
    RoleWeights,
)
from step_hrl.engines.transformers import TransformersEngine
from step_hrl.models import backbone as backbones
from step_hrl.models.backbone import Backbone
from step_hrl.models.collate import TransitionBatch, collate, tokenize
from step_hrl.models.cost import Shape
from step_hrl.models.tokenization import LineTokenizer, PromptFormat
from step_hrl.training.behavior_cloning import BehaviorCloning, train_behavior_cloning
from step_hrl.training.offline_rl import train_offline_rl
from step_hrl.types import Transition

FORMATS: tuple[PromptFormat, ...] = ("plain", "chat")
LORA = LoraConfig(rank=4, alpha=8, dropout=0.0)
LENGTH = 8
GENERATION = GenerationConfig(
    mixed_precision="no", batch_size=3, max_new_tokens=MaxNewTokens(high=LENGTH, low=LENGTH, progress=LENGTH)
)
# All samples are one batch, so an epoch is an update.
ONE_BATCH = {"tokens_per_batch": 100_000, "log_every": 1, "mixed_precision": "no", "trackers": []}
CLONING = BehaviorCloningConfig.model_validate({**ONE_BATCH, "epochs": 3, "learning_rate": 0.01})
RL = OfflineRLConfig.model_validate({**ONE_BATCH, "epochs": 3, "learning_rate": 0.01, "critic_warmup": 0})
UTTERANCES = ("go to the kitchen", "take red box; True", "12.5 C || 3", "naïve 水 \U0001f600", "Ċensu", "a  b", "?")


class Source(NamedTuple):
    """A family, and the folder of a model of it."""

    family: Family
    folder: Path

    def load(self, prompt_format: PromptFormat = "plain", lora: LoraConfig | None = LORA) -> Backbone:
        """The model with fresh adapters, which change no output yet."""
        config = BackboneConfig(source=str(self.folder), lora=lora, prompt_format=prompt_format)
        return backbones.load(config, device="cpu").eval()

    def plain(self) -> Any:
        """The model as transformers alone loads it."""
        return AutoModelForCausalLM.from_pretrained(self.folder).eval()


@pytest.fixture(scope="session", params=FAMILIES, ids=lambda family: family.name)
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Source:
    family: Family = request.param
    return Source(family, family.save(tmp_path_factory.mktemp(family.name)))


def prompts(backbone: Backbone) -> list[list[int]]:
    """Tokens of a few prompts of various lengths."""
    return backbone.tokenizer.encode_prompts([t.state for t in transitions(5, seed=3)])


def batch_of(backbone: Backbone, decisions: Sequence[Transition]) -> TransitionBatch:
    sample = tuple(tokenize(decisions, backbone.tokenizer, backbone.context))
    return collate([sample], backbone.tokenizer.pad, multiple=16)


@torch.no_grad()
def replies(model: Any, backbone: Backbone) -> list[list[int]]:
    """Greedy decoding of one prompt at a time, without a cache; nothing but the length ends a reply."""
    completions: list[list[int]] = []
    for ids in prompts(backbone):
        generated: list[int] = []
        for _ in range(LENGTH):
            generated.append(int(model(input_ids=torch.tensor([[*ids, *generated]])).logits[0, -1].argmax()))
        completions.append(generated)
    return completions


def engine_replies(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The tokens that the engine decodes for the same prompts, in batches that rows join and leave."""
    monkeypatch.setattr(backbone.tokenizer, "stops", frozenset())
    monkeypatch.setattr(backbone.tokenizer, "decode", lambda ids: " ".join(map(str, ids)))
    answers = TransformersEngine(backbone, GENERATION).generate([ask(t.role, t.state) for t in transitions(5, seed=3)])
    assert [answer.usage.prompt_tokens for answer in answers] == [len(ids) for ids in prompts(backbone)]
    return [list(map(int, answer.text.split())) for answer in answers]


def adapters(backbone: Backbone) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in backbone.parameters() if p.requires_grad])


def losses(folder: Path) -> list[float]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


def episodes() -> list[Transition]:
    """Two decisions of each role and episode; the second one ends the episode."""
    drawn = transitions(12)
    return [
        replace(t, reward=0.0, next_state=after.state, terminated=False)
        if index % 6 < 3
        else replace(t, reward=1.0, next_state=None, terminated=True)
        for index, (t, after) in enumerate(zip(drawn, [*drawn[3:], *drawn[:3]], strict=True))
    ]


@pytest.mark.parametrize("prompt_format", FORMATS)
def test_an_utterance_is_one_line_that_reads_as_written(source: Source, prompt_format: PromptFormat) -> None:
    tokenizer = LineTokenizer(AutoTokenizer.from_pretrained(source.folder), prompt_format)
    assert tokenizer.hf.decode([tokenizer.line_end]) == "\n"
    for text, ids in zip(UTTERANCES, tokenizer.encode_utterances(UTTERANCES), strict=True):
        assert ids[-1] == tokenizer.line_end
        assert not tokenizer.stops.intersection(ids[:-1])
        assert tokenizer.decode(ids) == text
    special = {index for index, token in tokenizer.hf.added_tokens_decoder.items() if token.special}
    assert special <= tokenizer.stops
    assert 0 <= tokenizer.pad < len(tokenizer.hf)


def test_a_decision_has_the_tokens_of_its_text(source: Source) -> None:
    hf = AutoTokenizer.from_pretrained(source.folder)
    tokenizer = LineTokenizer(hf)
    beginning = [hf.bos_token_id] if source.family.adds_beginning else []
    for transition in transitions(12):
        prompt = tokenizer.encode_prompts([transition.state])[0]
        utterance = tokenizer.encode_utterances([transition.utterance])[0]
        whole = f"{transition.state} {transition.utterance}"
        assert [*prompt, *utterance[:-1]] == [*beginning, *hf(whole, add_special_tokens=False).input_ids]
        text = hf.decode([*prompt, *utterance], skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert text == f"{whole}\n"
        assert len(prompt) > SLIDING_WINDOW


def test_a_chat_prompt_is_one_turn_without_thinking_or_todays_date(source: Source) -> None:
    hf = AutoTokenizer.from_pretrained(source.folder)
    tokenizer = LineTokenizer(hf, "chat")
    template = hf.chat_template
    states = [t.state for t in transitions(3)]
    expected = [source.family.chat.replace("{prompt}", state) for state in states]
    assert tokenizer.encode_prompts(states) == [hf(text, add_special_tokens=False).input_ids for text in expected]
    assert hf.chat_template == template
    beginnings = tokenizer.encode_prompts(states)[0].count(hf.bos_token_id)
    assert beginnings == int(source.family.adds_beginning)


@pytest.mark.parametrize("prompt_format", FORMATS)
@torch.no_grad()
def test_losses_equal_those_of_the_plain_model(source: Source, prompt_format: PromptFormat) -> None:
    backbone, plain = source.load(prompt_format), source.plain()
    tokenizer, decisions = backbone.tokenizer, transitions(6)
    states = tokenizer.encode_prompts([t.state for t in decisions])
    utterances = tokenizer.encode_utterances([t.utterance for t in decisions])
    expected: list[float] = []
    for state, utterance in zip(states, utterances, strict=True):
        log_probs = plain(input_ids=torch.tensor([[*state, *utterance]])).logits[0, len(state) - 1 : -1].log_softmax(-1)
        expected.append(-float(log_probs.gather(1, torch.tensor(utterance)[:, None]).mean()))
    objective = BehaviorCloning(backbone, RoleWeights())
    alone = [float(objective(batch_of(backbone, [decision])).total) for decision in decisions]
    assert alone == pytest.approx(expected, abs=1e-5)
    together = objective(batch_of(backbone, decisions)).total
    assert float(together) == pytest.approx(sum(expected) / len(expected), abs=1e-5)


@pytest.mark.parametrize("prompt_format", FORMATS)
def test_the_engine_decodes_as_the_plain_model_does(
    source: Source, prompt_format: PromptFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = source.load(prompt_format)
    expected = replies(source.plain(), backbone)
    assert len({tuple(ids) for ids in expected}) > 1
    assert engine_replies(backbone, monkeypatch) == expected


def test_both_stages_train_adapters_that_plain_peft_opens(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = source.load("chat")
    before = adapters(backbone)
    train_behavior_cloning(backbone, transitions(6), [], CLONING, output=tmp_path / "cloning", seed=0)
    cloned = adapters(backbone)
    train_offline_rl(backbone, episodes(), episodes()[:6], RL, collected=frozenset(), output=tmp_path / "rl", seed=0)
    assert not torch.equal(before, cloned)
    assert not torch.equal(cloned, adapters(backbone))
    for stage in ("cloning", "rl"):
        found = losses(tmp_path / stage)
        assert len(found) == 3
        assert all(map(math.isfinite, found))
    backbone.eval().save(tmp_path / "policy")
    expected = replies(backbone.model, backbone)
    assert expected != replies(source.plain(), backbone)
    adapted: Any = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "policy")
    assert replies(adapted.eval(), backbone) == expected
    on_base: Any = PeftModel.from_pretrained(source.plain(), str(tmp_path / "policy"))
    on_base.merge_and_unload().save_pretrained(tmp_path / "merged")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    assert replies(merged, backbone) == expected
    tokenizer = LineTokenizer(AutoTokenizer.from_pretrained(tmp_path / "policy"), "chat")
    assert tokenizer.encode_prompts([t.state for t in transitions(5, seed=3)]) == prompts(backbone)
    assert tokenizer.encode_utterances(UTTERANCES) == backbone.tokenizer.encode_utterances(UTTERANCES)
    assert tokenizer.stops == backbone.tokenizer.stops
    assert engine_replies(backbone, monkeypatch) == expected


def test_all_weights_train_and_plain_transformers_opens_them(source: Source, tmp_path: Path) -> None:
    backbone = source.load(lora=None)
    before = weights(backbone)
    once = CLONING.model_copy(update={"epochs": 1.0, "learning_rate": 0.003})
    folder = train_behavior_cloning(backbone, transitions(6), [], once, output=tmp_path, seed=0)
    assert len(losses(tmp_path)) == 1
    after = weights(backbone.eval())
    assert not torch.equal(before, after)
    reopened: Any = AutoModelForCausalLM.from_pretrained(folder).eval()
    assert torch.equal(weights(reopened), after)
    head, embeddings = reopened.get_output_embeddings().weight, reopened.get_input_embeddings().weight
    is_tied = backbone.causal_model.config.get_text_config().tie_word_embeddings
    assert (head.data_ptr() == embeddings.data_ptr()) == is_tied
    assert replies(reopened, backbone) == replies(backbone.model, backbone)
    restored = source.load(lora=None)
    restored.restore(folder)
    assert torch.equal(weights(restored), after)


def test_only_the_language_model_is_trained(source: Source) -> None:
    adapted, whole = source.load(), source.load(lora=None)
    layers = adapted.causal_model.config.get_text_config().num_hidden_layers
    for backbone, number in ((adapted, layers * len(LORA.target_modules) * 2), (whole, None)):
        text = {*backbone.decoder.parameters(), *backbone.causal_model.get_output_embeddings().parameters()}
        trained = {parameter for parameter in backbone.parameters() if parameter.requires_grad}
        assert trained <= text
        assert len(trained) == (len(text) if number is None else number)


def test_attention_is_fused_where_the_family_allows(source: Source) -> None:
    backbone = source.load()
    with backbone.acting("no") as copy:
        kind = copy.decoder.config._attn_implementation
    assert kind == ("eager" if source.family.name == "gemma-2" else "sdpa")
    assert backbone.decoder.config._attn_implementation == "eager"


def test_context_and_width_are_those_of_the_language_model(source: Source) -> None:
    backbone = source.load()
    assert (backbone.context, backbone.width) == (256, 32)
    shape = Shape.read(source.folder)
    assert (shape.width, shape.heads, shape.key_value_heads) == (
        32,
        4,
        source.family.sizes.get("num_key_value_heads", 2),
    )


def test_families_have_tied_and_untied_heads() -> None:
    tied = {bool(family.sizes.get("tie_word_embeddings", True)) for family in FAMILIES}
    assert tied == {True, False}
