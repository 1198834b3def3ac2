from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.tiny_model import tiny_backbone, transitions

from step_hrl.errors import DataError
from step_hrl.models.collate import ROLES, Trajectory, TransitionTokens, batches_of_similar_length, collate, tokenize
from step_hrl.types import Role


def test_masks_and_ends_mark_states_and_utterances() -> None:
    pad = 2
    samples = [TransitionTokens(Role.LOW, (5, 2, 6), (2,)), TransitionTokens(Role.PROGRESS, (7,), (8, 9, 2))]
    batch = collate([Trajectory((sample,)) for sample in samples], pad)
    for row, sample in enumerate(samples):
        assert batch.input_ids[row][batch.attention_mask[row]].tolist() == [*sample.state, *sample.utterance]
        # The padding id also ends every utterance: masks must not be made from ids.
        assert batch.input_ids[row][batch.utterance_mask[row]].tolist() == list(sample.utterance)
        assert batch.input_ids[row, batch.state_end[row]] == sample.state[-1]
        assert batch.input_ids[row, batch.utterance_end[row]] == sample.utterance[-1]
        assert ROLES[int(batch.role[row])] is sample.role
    assert len(batch) == 2
    assert batch.to(torch.device("cpu")).input_ids.shape == (2, 4)


SIZES = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 60)), min_size=1, max_size=80)


@given(SIZES, st.integers(1, 200), st.integers(0, 3), st.integers(0, 3))
def test_batches_hold_every_sample_once_within_the_budget(
    sizes: list[tuple[int, int]], budget: int, seed: int, epoch: int
) -> None:
    batches = batches_of_similar_length(sizes, budget, seed, epoch)
    assert sorted(index for batch in batches for index in batch) == list(range(len(sizes)))
    for batch in batches:
        padded = max(sizes[index][1] for index in batch) * sum(sizes[index][0] for index in batch)
        assert len(batch) == 1 or padded <= budget
    assert batches == batches_of_similar_length(sizes, budget, seed, epoch)


def test_order_differs_by_epoch_and_seed_and_batches_are_of_similar_length() -> None:
    lengths = [10 + index % 50 for index in range(400)]
    sizes = [(1, length) for length in lengths]
    first = batches_of_similar_length(sizes, 512, 0, 0)
    assert first != batches_of_similar_length(sizes, 512, 0, 1)
    assert first != batches_of_similar_length(sizes, 512, 1, 0)
    padded = sum(len(batch) * max(lengths[index] for index in batch) for batch in first)
    assert padded < 1.15 * sum(lengths)


def test_a_sample_that_is_too_long_is_an_error_that_names_it() -> None:
    tokenizer = tiny_backbone().tokenizer
    samples = tokenize(transitions(6), tokenizer, 128)
    assert [sample.transitions[0].role for sample in samples] == [t.role for t in transitions(6)]
    longest = max(sample.longest for sample in samples)
    assert len(tokenize(transitions(6), tokenizer, longest)) == 6
    with pytest.raises(DataError, match=r"episode episode-0 \(carry:0\).*max_tokens_per_sample"):
        tokenize(transitions(6), tokenizer, longest - 1)
