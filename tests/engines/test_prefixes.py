"""Prompts are read only from where they differ from the episode's last one, which changes no answer."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from tests.asks import ask
from tests.tiny_model import TINY_CONFIG, tiny_backbone
from transformers import AutoModelForCausalLM, Gemma2Config, Gemma3TextConfig, Lfm2Config, LlamaConfig

from step_hrl.config import GenerationConfig, MaxNewTokens
from step_hrl.engines import key_values
from step_hrl.engines.base import Answers
from step_hrl.engines.batches import LENGTH_MULTIPLE
from step_hrl.engines.prefixes import Prefix, PrefixStore
from step_hrl.engines.transformers import TransformersEngine
from step_hrl.models.backbone import Backbone
from step_hrl.types import Ask, Job, Role, Task, Utterance

SHORT = MaxNewTokens(high=6, low=6, progress=6)
EXACT = GenerationConfig(mixed_precision="no", max_new_tokens=SHORT)
THINGS = ("lamp", "apple", "red box", "thermometer", "kitchen", "garden", "workshop")


def job(index: int) -> Job:
    return Job(Task("carry", "carry", index, "train"))


def episodes(number: int, decisions: int, seed: int = 0, words: int = 22) -> list[list[Ask]]:
    """Asks of several episodes whose prompts share beginnings of various lengths."""
    draw = random.Random(seed)
    made: list[list[Ask]] = []
    for index in range(number):
        text = draw.choices(THINGS, k=draw.randint(3, words))
        asks: list[Ask] = []
        for decision in range(1, decisions + 1):
            kept = text[: draw.randint(0, len(text))]
            text = [*kept, *draw.choices(THINGS, k=draw.randint(1, words - min(words - 1, len(kept))))]
            made_of = ask(tuple(Role)[decision % 3], " ".join(text), seed=100 * index + decision)
            asks.append(replace(made_of, job=job(index), number=decision))
        made.append(asks)
    return made


def play(
    backbone: Backbone, scripts: Sequence[Sequence[Ask]], config: GenerationConfig = EXACT
) -> list[list[Utterance]]:
    """Ask each episode's decisions one after another, all episodes at once; later ones are shorter."""
    left = [list(script) for script in scripts]
    asker: list[int] = []
    answers: list[list[Utterance]] = [[] for _ in scripts]

    def exchange(finished: Answers) -> list[Ask]:
        for number, utterance in finished:
            assert utterance is not None
            answers[asker[number]].append(utterance)
        ready = range(len(left)) if not asker else [asker[number] for number, _ in finished]
        asking = [index for index in ready if left[index]]
        asker.extend(asking)
        return [left[index].pop(0) for index in asking]

    TransformersEngine(backbone, config).serve(exchange)
    return answers


def without_jobs(scripts: Sequence[Sequence[Ask]]) -> list[list[Ask]]:
    return [[replace(ask, job=None) for ask in script] for script in scripts]


def texts(answers: Sequence[Sequence[Utterance]]) -> list[list[str]]:
    return [[answer.text for answer in each] for each in answers]


def shared(backbone: Backbone, script: Sequence[Ask]) -> list[int]:
    """What each prompt shares with the one before, by comparing all beginnings."""
    prompts = backbone.tokenizer.encode_prompts([ask.prompt for ask in script])
    pairs = zip([[], *prompts], prompts, strict=False)
    return [max(k for k in range(len(prompt)) if prompt[:k] == last[:k]) for last, prompt in pairs]


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    """Untrained weights, far enough apart that different prompts get different replies."""
    backbone = tiny_backbone().eval()
    with torch.no_grad():
        for weight in backbone.parameters():
            if weight.dim() == 2:
                weight.mul_(8)
    return backbone


@pytest.mark.parametrize("batch_size", [64, 3, 1])
def test_answers_with_known_prefixes_equal_those_without(backbone: Backbone, batch_size: int) -> None:
    scripts = [script[: 2 + index] for index, script in enumerate(episodes(6, 8))]
    config = EXACT.model_copy(update={"batch_size": batch_size})
    reused, anew = play(backbone, scripts, config), play(backbone, without_jobs(scripts), config)
    assert texts(reused) == texts(anew)
    assert len({text for each in texts(reused) for text in each}) > 20
    for script, with_jobs, alone in zip(scripts, reused, anew, strict=True):
        assert [answer.usage.cached_tokens for answer in with_jobs] == shared(backbone, script)
        assert [answer.usage.cached_tokens for answer in alone] == [0] * len(script)
        for one, other in zip(with_jobs, alone, strict=True):
            assert replace(one.usage, cached_tokens=0) == other.usage
    assert any(cached > 30 for script in scripts for cached in shared(backbone, script))


def test_sampled_answers_with_known_prefixes_equal_those_without(backbone: Backbone) -> None:
    config = EXACT.model_copy(update={"temperature": 5.0, "top_p": 0.9})
    scripts = episodes(5, 6, seed=1)
    reused, anew = play(backbone, scripts, config), play(backbone, without_jobs(scripts), config)
    assert texts(reused) == texts(anew)
    assert [[u.usage.cached_tokens for u in each] for each in reused] == [shared(backbone, each) for each in scripts]


def test_only_new_tokens_are_computed_and_logits_stay_the_same(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths: list[int] = []
    logits: list[torch.Tensor] = []
    original = Backbone.logits

    def noted(self: Backbone, hidden: torch.Tensor) -> torch.Tensor:
        logits.append(original(self, hidden))
        return logits[-1]

    monkeypatch.setattr(Backbone, "logits", noted)
    handle = backbone.decoder.embed_tokens.register_forward_hook(lambda _, __, out: lengths.append(out.shape[1]))
    start = " ".join(THINGS * 3)
    script = [replace(ask(Role.LOW, f"{start} {thing}"), job=job(0), number=n) for n, thing in enumerate(THINGS, 1)]
    play(backbone, without_jobs([script]))
    whole = [length for length in lengths if length > 1]
    assert len(whole) == len(THINGS)
    anew = torch.cat(logits)
    lengths.clear()
    logits.clear()
    play(backbone, [script])
    handle.remove()
    longest, *others = [length for length in lengths if length > 1]
    assert longest == whole[0]
    assert len(others) == len(THINGS) - 1
    assert max(others) <= 2 * LENGTH_MULTIPLE < min(whole) / 2
    torch.testing.assert_close(torch.cat(logits), anew, atol=1e-5, rtol=1e-5)


def test_counts_do_not_depend_on_other_episodes(backbone: Backbone) -> None:
    scripts = episodes(5, 6, seed=2)
    # The third episode asks what the first asks, so that its replies come from the cache of answers.
    scripts[2] = [replace(ask, job=job(2)) for ask in scripts[0]]
    together = play(backbone, scripts)
    assert together == [play(backbone, [script])[0] for script in scripts]
    assert together[2] == together[0]


def test_an_episode_that_starts_again_has_read_nothing(backbone: Backbone) -> None:
    script = episodes(1, 4)[0]
    twice = play(backbone, [[*script, *script]])[0]
    assert texts([twice[:4]]) == texts([twice[4:]])
    assert [answer.usage.cached_tokens for answer in twice] == 2 * shared(backbone, script)


def test_a_repeated_prompt_is_cached_whole_even_if_another_was_read_between(backbone: Backbone) -> None:
    first, second = (replace(ask(Role.LOW, text), job=job(0)) for text in ("lamp apple", "garden"))
    asks = [replace(first, number=1), replace(second, number=2), replace(first, number=3, is_repeat=True)]
    usages = [answer.usage for answer in play(backbone, [asks])[0]]
    assert [usage.cached_tokens for usage in usages] == [0, 0, usages[0].prompt_tokens]


def test_a_prompt_that_is_not_read_is_not_cached(backbone: Backbone) -> None:
    long = " lamp" * backbone.context
    asks = [replace(ask(Role.LOW, long + end), job=job(0), number=n) for n, end in enumerate((" a", " b"), 1)]
    after = replace(ask(Role.LOW, " lamp lamp"), job=job(0), number=3)
    assert [answer.usage.cached_tokens for answer in play(backbone, [[*asks, after]])[0]] == [0, 0, 0]


def test_the_prompt_of_the_episode_that_has_not_read_for_longest_is_dropped() -> None:
    store = PrefixStore(2)
    prompts = {name: Prefix([1, 2, index], torch.zeros(2, 1, 3, 1)) for index, name in enumerate("abc")}
    for name in "abac":
        store.keep(name, prompts[name])
    assert len(store) == 2
    assert store.find("b", [1, 2, 3]) is None
    for name in "ac":
        found = store.find(name, [1, 2, 3])
        assert found is not None
        assert (list(found.tokens), found.states.shape) == ([1, 2], (2, 1, 2, 1))
    assert store.find("a", [2, 2]) is None
    assert store.find(None, [1, 2, 3]) is None


def test_stored_prompts_hold_no_padding(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Prefix] = []
    monkeypatch.setattr(PrefixStore, "keep", lambda self, episode, prompt: kept.append(prompt))
    play(backbone, episodes(6, 2))
    assert len({len(prefix) for prefix in kept}) > 3
    for prefix in kept:
        layers, heads = TINY_CONFIG.tiny.layers, TINY_CONFIG.tiny.heads
        assert prefix.states.shape[::3] == (2 * layers, TINY_CONFIG.tiny.width // heads)
        assert prefix.states.shape[2] == len(prefix)
        assert prefix.states.untyped_storage().nbytes() == 4 * prefix.states.numel()


def of_family(kind: type, **settings: Any) -> Backbone:
    """A tiny random model of another family, with the tiny tokenizer."""
    tiny = tiny_backbone()
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1}
    config = kind(vocab_size=320, max_position_embeddings=128, **{**shape, "num_hidden_layers": 4, **settings})
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.mul_(4)
    return Backbone(model.eval(), tiny.tokenizer, "tiny")


def reference(backbone: Backbone, ask: Ask) -> str:
    """Greedy decoding one at a time, without cache or padding."""
    ids = backbone.tokenizer.encode_prompts([ask.prompt])[0]
    made: list[int] = []
    with torch.no_grad():
        while len(made) < 6 and (not made or made[-1] not in backbone.tokenizer.stops):
            hidden = backbone.decoder(input_ids=torch.tensor([[*ids, *made]]), use_cache=False).last_hidden_state
            made.append(int(backbone.logits(hidden[:, -1]).argmax()))
    return backbone.tokenizer.decode(made)


@pytest.mark.parametrize(
    "backbone",
    [
        of_family(Gemma2Config, head_dim=16, sliding_window=24, query_pre_attn_scalar=16),
        of_family(Gemma3TextConfig, head_dim=16, sliding_window=24, query_pre_attn_scalar=16, sliding_window_pattern=2),
    ],
    ids=["gemma2", "gemma3"],
)
def test_sliding_windows_reach_over_known_and_new_tokens(backbone: Backbone) -> None:
    assert "sliding_attention" in backbone.model.config.layer_types
    scripts = episodes(5, 6, seed=3)
    answers = play(backbone, scripts)
    assert texts(answers) == [[reference(backbone, ask) for ask in script] for script in scripts]
    assert len({text for each in texts(answers) for text in each}) > 10
    assert [[a.usage.cached_tokens for a in each] for each in answers] == [shared(backbone, each) for each in scripts]


@pytest.mark.parametrize(
    ("kind", "settings", "plain"),
    [
        (LlamaConfig, {}, True),
        (LlamaConfig, {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}}, False),
        (Lfm2Config, {"layer_types": ["conv", "full_attention", "conv", "full_attention"]}, False),
    ],
)
def test_models_that_keep_more_than_keys_and_values_are_not_plain(
    kind: type, settings: dict[str, Any], plain: bool
) -> None:
    backbone = of_family(kind, **settings)
    assert key_values.is_plain(backbone.decoder) is plain
    if plain or kind is LlamaConfig:
        answers = play(backbone, episodes(2, 4))
        assert any(answer.usage.cached_tokens for each in answers for answer in each) is plain


def test_a_model_that_is_not_plain_stores_nothing(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_values, "is_plain", lambda decoder: False)
    monkeypatch.setattr(PrefixStore, "keep", lambda self, episode, prompt: pytest.fail("stored"))
    scripts = episodes(3, 4)
    assert play(backbone, scripts) == play(backbone, without_jobs(scripts))
