from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.asks import ask
from tests.tiny_model import tiny_backbone, transitions

from step_hrl.config import BehaviorCloningConfig, GenerationConfig, MaxNewTokens, MuonConfig
from step_hrl.engines.transformers import TransformersEngine
from step_hrl.models.backbone import Backbone
from step_hrl.training.behavior_cloning import train_behavior_cloning
from step_hrl.types import Ask, Role, Utterance

SHORT = MaxNewTokens(high=12, low=12, progress=12)
ASKS = [ask(t.role, t.state) for t in transitions(15, seed=5)]


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    """A tiny model trained briefly, so that its replies have various lengths."""
    backbone = tiny_backbone()
    config = BehaviorCloningConfig(epochs=20, learning_rate=1e-2, optimizer=MuonConfig(), tokens_per_batch=512)
    folder: Path = tmp_path_factory.mktemp("run")
    train_behavior_cloning(backbone, transitions(), [], config, output=folder, seed=0)
    return backbone.eval()


def reference(backbone: Backbone, ask: Ask, limit: int) -> list[int]:
    """Greedy decoding one at a time, without cache or padding."""
    ids = backbone.tokenizer.encode_prompts([ask.prompt])[0]
    generated: list[int] = []
    with torch.no_grad():
        while len(generated) < limit and (not generated or generated[-1] not in backbone.tokenizer.stops):
            generated.append(int(backbone.model(input_ids=torch.tensor([[*ids, *generated]])).logits[0, -1].argmax()))
    return generated


def test_greedy_answers_and_token_counts_do_not_depend_on_the_batch(backbone: Backbone) -> None:
    together = TransformersEngine(backbone, GenerationConfig(mixed_precision="no", max_new_tokens=SHORT)).generate(ASKS)
    assert len({answer.usage.completion_tokens for answer in together}) > 2
    assert len({answer.usage.prompt_tokens for answer in together}) > 3
    for asked, answer in zip(ASKS, together, strict=True):
        expected = reference(backbone, asked, 12)
        assert answer.text == backbone.tokenizer.decode(expected)
        assert answer.usage.completion_tokens == len(expected)
        assert answer.usage.prompt_tokens == len(backbone.tokenizer.encode_prompts([asked.prompt])[0])
        assert answer.usage.cached_tokens == 0
    small = TransformersEngine(
        backbone, GenerationConfig(mixed_precision="no", max_new_tokens=SHORT, batch_size=2)
    ).generate(ASKS)
    assert small == together
    assert not backbone.training


def test_each_role_has_its_own_max_new_tokens() -> None:
    endless = tiny_backbone()
    endless.tokenizer.stops = frozenset()
    engine = TransformersEngine(endless, GenerationConfig(max_new_tokens=MaxNewTokens(high=3, low=5, progress=40)))
    prompt = ASKS[0].prompt
    answers = engine.generate([ask(role, prompt) for role in (Role.LOW, Role.HIGH, Role.PROGRESS)])
    assert [answer.usage.completion_tokens for answer in answers] == [5, 3, 40]


def test_samples_depend_on_temperature_and_seed(backbone: Backbone) -> None:
    def texts(seed: int, **settings: float) -> list[str]:
        config = GenerationConfig.model_validate({"max_new_tokens": SHORT, "mixed_precision": "no", **settings})
        return [answer.text for answer in TransformersEngine(backbone, config, seed).generate(ASKS)]

    greedy = texts(0)
    assert texts(1) == greedy
    assert texts(0, temperature=1.0) == texts(0, temperature=1.0) != texts(1, temperature=1.0)
    assert texts(0, temperature=1.0) != greedy
    assert texts(0, temperature=1.0, top_p=1e-6) == greedy
    state = torch.random.get_rng_state()
    texts(0, temperature=1.0)
    assert torch.equal(state, torch.random.get_rng_state())


def test_repeated_actions_are_sampled_and_all_else_stays_greedy(backbone: Backbone) -> None:
    config = GenerationConfig(mixed_precision="no", repeat_temperature=20.0, max_new_tokens=SHORT)
    greedy = config.model_copy(update={"repeat_temperature": 0.0})
    engine = TransformersEngine(backbone, config)
    first = [answer.text for answer in engine.generate(ASKS)]
    assert first == [answer.text for answer in TransformersEngine(backbone, greedy).generate(ASKS)]
    action = next(ask for ask in ASKS if ask.role is Role.LOW)
    repeated = [replace(action, is_repeat=True, seed=seed) for seed in range(20)]
    rest = [replace(ask, is_repeat=ask.role is not Role.LOW) for ask in ASKS]
    mixed = [answer.text for answer in engine.generate([*repeated, *rest, *repeated])]
    assert len(set(mixed[:20])) > 10
    assert mixed[20:-20] == first
    assert mixed[-20:] == mixed[:20], "a draw follows from its seed, whatever else is said"


def test_repeat_temperature_never_lowers_the_temperature() -> None:
    config = GenerationConfig(temperature=1.0, repeat_temperature=0.5)
    assert [config.temperature_of(ask(Role.LOW, "", is_repeat=is_repeat)) for is_repeat in (False, True)] == [1.0, 1.0]


def test_repeat_temperature_applies_to_actions_only() -> None:
    config = GenerationConfig(repeat_temperature=0.5)
    assert {role: config.temperature_of(ask(role, "", is_repeat=True)) for role in Role} == {
        Role.HIGH: 0.0,
        Role.LOW: 0.5,
        Role.PROGRESS: 0.0,
    }


def test_sampling_follows_the_models_probabilities_within_top_p(backbone: Backbone) -> None:
    ask = ASKS[0]
    samples = 400
    config = GenerationConfig(
        mixed_precision="no", temperature=20.0, top_p=0.6, max_new_tokens=MaxNewTokens(high=1, low=1, progress=1)
    )
    answers = TransformersEngine(backbone, config).generate([replace(ask, seed=seed) for seed in range(samples)])
    ids = torch.tensor([backbone.tokenizer.encode_prompts([ask.prompt])[0]])
    with torch.no_grad():
        probabilities = (backbone.model(input_ids=ids).logits[0, -1] / 20.0).softmax(dim=-1)
    ordered, order = probabilities.sort(descending=True)
    kept = int((ordered.cumsum(0) < 0.6).sum()) + 1
    assert kept > 1
    expected: dict[str, float] = {}
    for place in range(kept):
        text = backbone.tokenizer.decode([int(order[place])])
        expected[text] = expected.get(text, 0.0) + float(ordered[place] / ordered[:kept].sum())
    for text, probability in expected.items():
        share = sum(answer.text == text for answer in answers) / samples
        assert share == pytest.approx(probability, abs=0.1)
    assert {answer.text for answer in answers} <= set(expected)


def test_a_prompt_without_room_for_a_reply_gets_an_empty_reply(backbone: Backbone) -> None:
    engine = TransformersEngine(backbone, GenerationConfig(mixed_precision="no", max_new_tokens=SHORT))
    token = " lamp"
    room_for_three = token * (backbone.context - 3)
    assert len(backbone.tokenizer.encode_prompts([room_for_three])[0]) == backbone.context - 3
    long, tight, usual = engine.generate([ask(Role.LOW, token * 500), ask(Role.LOW, room_for_three), ASKS[0]])
    assert (long.text, long.usage.completion_tokens) == ("", 0)
    assert long.usage.prompt_tokens == 500
    assert 1 <= tight.usage.completion_tokens <= 3
    assert usual == engine.generate([ASKS[0]])[0]
    assert engine.generate([]) == []


def test_mixed_precision_computes_in_bfloat16(backbone: Backbone) -> None:
    seen: list[torch.dtype] = []
    projection = backbone.model.model.layers[0].mlp.up_proj
    handle = projection.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    for choice, dtype in (("no", torch.float32), ("bf16", torch.bfloat16)):
        seen.clear()
        config = GenerationConfig.model_validate({"max_new_tokens": SHORT, "mixed_precision": choice})
        TransformersEngine(backbone, config).generate(ASKS[:3])
        assert set(seen) == {dtype}
    handle.remove()


def test_provenance_names_model_and_sampling(backbone: Backbone) -> None:
    facts = TransformersEngine(backbone, GenerationConfig(temperature=0.5, top_p=0.9), seed=7).provenance()
    assert facts["model"] == "tiny"
    assert (facts["temperature"], facts["top_p"], facts["sampling_seed"]) == ("0.5", "0.9", "7")


def test_no_forward_pass_answers_more_asks_than_batch_size(backbone: Backbone) -> None:
    rows: list[int] = []
    handle = backbone.model.model.embed_tokens.register_forward_hook(lambda module, inputs, out: rows.append(len(out)))
    for size in (2, 4):
        rows.clear()
        config = GenerationConfig(max_new_tokens=SHORT, batch_size=size)
        TransformersEngine(backbone, config).generate(ASKS[:7])
        assert max(rows) == size
    handle.remove()


@pytest.fixture
def two_cores() -> Generator[None]:
    """Two threads for torch, whatever the machine has."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_cores")
def test_each_core_decodes_rows_of_its_own(backbone: Backbone) -> None:
    seen: dict[str, set[tuple[int, int]]] = defaultdict(set)

    def note(module: Any, inputs: Any, out: torch.Tensor) -> None:
        seen[threading.current_thread().name].add((len(out), torch.get_num_threads()))

    handle = backbone.model.model.embed_tokens.register_forward_hook(note)
    config = GenerationConfig(mixed_precision="no", max_new_tokens=SHORT, batch_size=16)
    together = TransformersEngine(backbone, config).generate(ASKS)
    lanes = {name: calls for name, calls in seen.items() if name != threading.current_thread().name}
    handle.remove()
    assert len(lanes) == 2
    assert all(1 <= rows <= 8 and threads == 1 for calls in lanes.values() for rows, threads in calls)
    assert together == [TransformersEngine(backbone, config).generate([ask])[0] for ask in ASKS]
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_cores")
def test_an_error_in_one_lane_ends_all() -> None:
    backbone = tiny_backbone()

    def fail(module: Any, inputs: Any, out: torch.Tensor) -> None:
        if threading.current_thread().name.endswith("_1"):
            raise MemoryError("no memory")

    backbone.model.model.embed_tokens.register_forward_hook(fail)
    with pytest.raises(MemoryError, match="no memory"):
        TransformersEngine(backbone, GenerationConfig(max_new_tokens=SHORT)).generate(ASKS)


def test_greedy_engines_answer_a_prompt_once() -> None:
    rows: list[int] = []
    backbone = tiny_backbone()
    backbone.model.model.embed_tokens.register_forward_hook(lambda module, inputs, out: rows.append(len(out)))
    for temperature, most in ((0.0, 1), (1.0, 7)):
        rows.clear()
        config = GenerationConfig(max_new_tokens=SHORT, temperature=temperature)
        TransformersEngine(backbone, config).generate([ASKS[0]] * 7)
        assert max(rows) == most


@pytest.mark.parametrize("sent_at_once", [1, 2, 5])
def test_answers_do_not_depend_on_when_asks_join_the_batch(backbone: Backbone, sent_at_once: int) -> None:
    engine = TransformersEngine(backbone, GenerationConfig(mixed_precision="no", max_new_tokens=SHORT, batch_size=4))
    order: list[int] = []
    answers: dict[int, Utterance] = {}
    left = list(ASKS)

    def exchange(finished: Sequence[tuple[int, Utterance]]) -> Sequence[Ask]:
        order.extend(number for number, _ in finished)
        answers.update(finished)
        sent, left[:] = left[:sent_at_once], left[sent_at_once:]
        return sent

    engine.serve(exchange)
    assert order != sorted(order), "an answer waited for one asked before it"
    assert len(order) == len(ASKS)
    assert [answers[number] for number in range(len(ASKS))] == [engine.generate([ask])[0] for ask in ASKS]


def test_samples_do_not_depend_on_the_batch(backbone: Backbone) -> None:
    config = GenerationConfig(mixed_precision="no", temperature=1.5, top_p=0.9, max_new_tokens=SHORT)
    asks = [replace(ask, seed=seed) for seed, ask in enumerate(ASKS)]
    together = TransformersEngine(backbone, config).generate(asks)
    alone = [TransformersEngine(backbone, config).generate([ask])[0] for ask in asks]
    assert together == alone
    samples = TransformersEngine(backbone, config).generate([replace(ASKS[0], seed=seed) for seed in range(20)])
    assert len({answer.text for answer in samples}) > 1
