"""Batches of transitions: where states and utterances are, what attends to what, and how samples are grouped."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.tiny_model import tiny_backbone, transitions

from step_hrl.errors import DataError
from step_hrl.models.collate import (
    ROLES,
    Sample,
    TransitionBatch,
    TransitionTokens,
    batches_of,
    collate,
    samples_by_beginning,
    samples_in_order,
    size_of,
    tokenize,
    words,
)
from step_hrl.models.prefix_rows import ROW_TOKENS
from step_hrl.types import Role

Decisions = list[tuple[Role, tuple[int, ...], tuple[int, ...], tuple[int, ...]]]
PAD = 2
TOKENS = st.lists(st.integers(3, 5), min_size=1, max_size=6).map(tuple)
"""Few different tokens, so that decisions share beginnings."""
DECISIONS = st.lists(
    st.tuples(st.sampled_from(list(Role)), TOKENS, TOKENS, st.one_of(st.just(()), TOKENS)), min_size=1, max_size=30
)
"""Role, state, utterance and next state of each."""


def sample_of(decisions: Decisions) -> Sample:
    return tuple(
        TransitionTokens(role, state, (*utterance, PAD), following, discount=0.9 if following else 0.0)
        for role, state, utterance, following in decisions
    )


def path_to(batch: TransitionBatch, token: int) -> list[int]:
    """The ids of the tokens that a token (an index into the flattened rows) attends to."""
    row, index = divmod(token, batch.input_ids.shape[1])
    return batch.input_ids[row][batch.attention_mask[row, 0, index]].tolist()


@given(st.lists(DECISIONS, min_size=1, max_size=4), st.sampled_from([1, 4]))
def test_states_and_utterances_are_found_in_the_rows(drawn: list[Decisions], multiple: int) -> None:
    samples = [sample_of(decisions) for decisions in drawn]
    batch = collate(samples, PAD, multiple)
    decisions = [decision for sample in samples for decision in sample]
    assert len(batch) == len(decisions)
    assert batch.input_ids.shape[1] % multiple == 0
    ids = batch.input_ids.flatten()
    for number, decision in enumerate(decisions):
        inside = batch.utterance_mask[number]
        # The padding id also ends every utterance: masks must not be made from ids.
        assert ids[batch.utterance_path[number, 1:][inside]].tolist() == list(decision.utterance)
        assert path_to(batch, int(batch.state_end[number])) == list(decision.state)
        assert path_to(batch, int(batch.utterance_end[number])) == [*decision.state, *decision.utterance]
        if decision.next_state:
            assert path_to(batch, int(batch.next_state_end[number])) == list(decision.next_state)
        assert ROLES[int(batch.role[number])] is decision.role
        assert float(batch.discount[number]) == pytest.approx(decision.discount)


@given(DECISIONS)
def test_padding_attends_to_itself_and_nothing_attends_to_it(decisions: Decisions) -> None:
    batch = collate([sample_of(decisions)], PAD, 16)
    shape = batch.input_ids.shape
    used = torch.zeros(shape, dtype=torch.bool)
    for ends in (batch.utterance_end, batch.next_state_end[batch.discount > 0]):
        for end in ends.tolist():
            row, index = divmod(end, shape[1])
            used[row] |= batch.attention_mask[row, 0, index]
    mask = batch.attention_mask[:, 0]
    assert (mask[~used].sum(dim=1) == 1).all()
    assert mask.diagonal(dim1=1, dim2=2).all()
    assert not (mask & used[:, :, None] & ~used[:, None, :]).any()
    assert (batch.input_ids[~used] == PAD).all()


def test_what_decisions_share_is_read_once() -> None:
    first = TransitionTokens(Role.LOW, (5, 6, 7), (8, PAD), next_state=(5, 6, 9), discount=0.9)
    second = TransitionTokens(Role.LOW, (5, 6, 9), (8, PAD))
    batch = collate([(first, second), (second,)], PAD)
    assert batch.input_ids.tolist() == [[5, 6, 7, 8, PAD, 9, 8, PAD]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 4, 2, 3, 4]]
    # s' of the first decision is s of the second, and the second occurs twice.
    assert batch.next_state_end[0] == batch.state_end[1] == batch.state_end[2] == 5
    assert batch.utterance_path[1].tolist() == batch.utterance_path[2].tolist() == [5, 6, 7]
    assert batch.utterance_mask.all()
    assert size_of((first, second)) == 8


def test_a_batch_is_copied_to_a_device() -> None:
    batch = collate([(TransitionTokens(Role.HIGH, (5,), (6, PAD), reward=2.0, clone_mask=False),)], PAD)
    copied = batch.to(torch.device("meta"))
    assert copied.input_ids.shape == batch.input_ids.shape
    assert {getattr(copied, name).device.type for name in TransitionBatch.__dataclass_fields__} == {"meta"}
    assert copied.attention_mask.device.type == "meta"


SIZES = st.lists(st.integers(1, 60), min_size=1, max_size=80)


@given(SIZES, st.integers(1, 200), st.integers(0, 3), st.integers(0, 3))
def test_batches_hold_every_sample_once_within_the_budget(sizes: list[int], budget: int, seed: int, epoch: int) -> None:
    batches = batches_of(sizes, budget, seed, epoch)
    assert sorted(index for batch in batches for index in batch) == list(range(len(sizes)))
    for batch in batches:
        assert len(batch) == 1 or sum(sizes[index] for index in batch) <= budget
    assert batches == batches_of(sizes, budget, seed, epoch)


def test_order_differs_by_epoch_and_seed_and_batches_are_filled() -> None:
    draw = random.Random(0)
    sizes = [draw.randint(100, 384) for _ in range(600)]
    first = batches_of(sizes, 1024, 0, 0)
    assert first != batches_of(sizes, 1024, 0, 1)
    assert first != batches_of(sizes, 1024, 1, 0)
    assert sum(sizes) > 0.85 * 1024 * len(first)


def test_batches_do_not_keep_the_order_of_samples() -> None:
    batches = batches_of([50] * 400, 200, 0, 0)
    together = sum(abs(one - other) < 10 for batch in batches for one, other in pairwise(batch))
    assert together < 0.15 * 300


@given(DECISIONS)
def test_samples_by_beginning_hold_each_decision_once(drawn: Decisions) -> None:
    decisions = sample_of(drawn)
    samples = samples_by_beginning(decisions)
    assert sorted(id(each) for sample in samples for each in sample) == sorted(map(id, decisions))
    backwards = samples_by_beginning(decisions[::-1])
    assert [[each.sequences[0] for each in sample] for sample in backwards] == [
        [each.sequences[0] for each in sample] for sample in samples
    ]


def alike(number: int, common: int = 200, own: int = 10) -> list[TransitionTokens]:
    return [
        TransitionTokens(Role.LOW, (*range(10, 10 + common), *([1000 + each] * own)), (5, PAD))
        for each in range(number)
    ]


def test_samples_by_beginning_fill_a_row_and_no_more() -> None:
    decisions = alike(100)
    random.Random(0).shuffle(decisions)
    samples = samples_by_beginning(decisions)
    assert all(size_of(sample) <= ROW_TOKENS for sample in samples)
    # 200 tokens in common and 12 more for each decision: 15 of them fit.
    assert [len(sample) for sample in samples] == [15] * 6 + [10]
    assert [len(sample) for sample in samples_by_beginning(alike(6), 250)] == [4, 2]
    # A single decision may be longer.
    assert [len(sample) for sample in samples_by_beginning(alike(3, common=500))] == [1, 1, 1]
    # What has less than half in common is not put together.
    assert [len(sample) for sample in samples_by_beginning(alike(3, common=10, own=15))] == [1, 1, 1]


def test_a_decision_that_occurs_very_often_is_spread_over_samples() -> None:
    [one] = alike(1)
    samples = samples_by_beginning([one] * 1000)
    assert sum(map(len, samples)) == 1000
    assert max(len(sample) * len(one.utterance) for sample in samples) <= ROW_TOKENS


@given(DECISIONS, st.integers(1, 40))
def test_samples_in_order_are_as_long_as_fits(drawn: Decisions, tokens: int) -> None:
    decisions = sample_of(drawn)
    samples = samples_in_order(decisions, tokens)
    assert tuple(each for sample in samples for each in sample) == decisions
    assert all(len(sample) == 1 or size_of(sample) <= tokens for sample in samples)
    for sample, following in pairwise(samples):
        assert size_of((*sample, following[0])) > tokens


def test_a_sample_that_is_too_long_is_an_error_that_names_it() -> None:
    tokenizer = tiny_backbone().tokenizer
    encoded = tokenize(transitions(6), tokenizer, 128)
    assert [each.role for each in encoded] == [t.role for t in transitions(6)]
    longest = max(map(len, encoded))
    assert len(tokenize(transitions(6), tokenizer, longest)) == 6
    with pytest.raises(DataError, match=r"episode episode-0 \(carry:0\).*max_tokens_per_sample"):
        tokenize(transitions(6), tokenizer, longest - 1)


def test_a_next_state_is_encoded_only_where_its_value_matters() -> None:
    tokenizer = tiny_backbone().tokenizer
    decision, other = transitions(2)
    moving = replace(decision, next_state=other.state)
    [read] = tokenize([moving], tokenizer, 128, discount=lambda _: 0.5)
    assert (list(read.next_state), read.discount) == (tokenizer.encode_prompts([other.state])[0], 0.5)
    [unread] = tokenize([moving], tokenizer, 128)
    assert (list(unread.next_state), unread.discount) == ([], 0.0)
    far = replace(decision, next_state=" ".join([other.state] * 3))
    assert tokenize([far], tokenizer, len(read))
    with pytest.raises(DataError, match=f"tokens where {len(read)} fit"):
        tokenize([far], tokenizer, len(read), discount=lambda _: 0.5)


def test_an_utterance_is_novel_if_no_training_utterance_has_one_of_its_words() -> None:
    [decision] = transitions(1)
    texts = ("take lamp; True", "lamp (take); True", "take lamp; False", "take apple; True")
    decisions = [replace(decision, utterance=text) for text in texts]
    known = words(decisions[:1])
    encoded = tokenize(decisions, tiny_backbone().tokenizer, 128, known_words=known)
    assert [each.is_novel for each in encoded] == [False, False, True, True]
    assert not any(each.is_novel for each in tokenize(decisions, tiny_backbone().tokenizer, 128))
