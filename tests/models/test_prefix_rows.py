"""Rows of prefix trees: every sequence is a path, tokens attend to their path, and rows waste little."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import example, given
from hypothesis import strategies as st

from step_hrl.models import prefix_rows
from step_hrl.models.prefix_rows import PrefixTree, Row, common_prefix, pack, pack_evenly, rounded, tokens_read

# Few different tokens, so that sequences share beginnings, repeat, and are beginnings of others.
SEQUENCES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9).map(tuple), min_size=1, max_size=20)
LENGTHS = st.integers(1, 30)


def ancestors(row: Row, token: int) -> set[int]:
    """The token and those on the path to it, found by walking back to the latest token of each smaller depth."""
    found = {token}
    for index in range(token - 1, -1, -1):
        if row.positions[index] < row.positions[min(found)]:
            found.add(index)
    return found


def prefixes(sequences: Sequence[tuple[int, ...]]) -> set[tuple[int, ...]]:
    return {sequence[:end] for sequence in sequences for end in range(1, len(sequence) + 1)}


@given(SEQUENCES, LENGTHS)
def test_every_sequence_is_the_path_to_its_place(sequences: list[tuple[int, ...]], length: int) -> None:
    rows, places = pack(sequences, length)
    assert len(places) == len(sequences)
    for sequence, place in zip(sequences, places, strict=True):
        row = rows[place.row]
        assert tuple(row.tokens[index] for index in place.path) == sequence
        assert [row.positions[index] for index in place.path] == list(range(len(sequence)))
        assert ancestors(row, place.path[-1]) == set(place.path)


@given(SEQUENCES, LENGTHS)
def test_a_token_attends_to_itself_and_to_the_path_that_leads_to_it(
    sequences: list[tuple[int, ...]], length: int
) -> None:
    for row in pack(sequences, length)[0]:
        for token in range(len(row.tokens)):
            attended = {other for other in range(token + 1) if token < row.subtree_end[other]}
            assert attended == ancestors(row, token)


@given(SEQUENCES, LENGTHS)
def test_rows_are_within_the_limit_and_hold_only_tokens_of_sequences(
    sequences: list[tuple[int, ...]], length: int
) -> None:
    rows, places = pack(sequences, length)
    for number, row in enumerate(rows):
        held = [sequence for sequence, place in zip(sequences, places, strict=True) if place.row == number]
        assert len(row.tokens) == len(row.positions) == len(row.subtree_end) == len(prefixes(held))
        assert len(row.tokens) <= length or len(set(held)) == 1


@given(SEQUENCES)
def test_one_row_without_a_limit_reads_each_prefix_once(sequences: list[tuple[int, ...]]) -> None:
    [row] = pack(sequences, 10_000)[0]
    assert len(row.tokens) == tokens_read(sequences) == PrefixTree(sequences).tokens == len(prefixes(sequences))


@given(SEQUENCES, st.lists(st.integers(0, 2), max_size=9).map(tuple))
def test_a_sequence_added_to_a_tree_costs_what_no_other_has(
    sequences: list[tuple[int, ...]], added: tuple[int, ...]
) -> None:
    tree = PrefixTree(sequences)
    before = tree.tokens
    tree.add(added)
    most = max(common_prefix(sequence, added) for sequence in sequences)
    assert tree.tokens - before == len(added) - most


@given(SEQUENCES, st.integers(1, 12))
@example([(1,) * 9, (2,) * 9], 8)
def test_rows_are_evenly_long_and_few(sequences: list[tuple[int, ...]], multiple: int) -> None:
    limit = 12
    before, prefix_rows.ROW_TOKENS = prefix_rows.ROW_TOKENS, limit
    try:
        rows, places, length = pack_evenly(sequences, multiple)
    finally:
        prefix_rows.ROW_TOKENS = before
    assert length % multiple == 0
    assert all(len(row.tokens) <= length for row in rows)
    assert (rows, places) == pack(sequences, length)
    # No more rows than full ones would be, and none of a shorter length that would do.
    longest = rounded(max(map(len, sequences)), multiple)
    full = max(rounded(limit, multiple), longest)
    assert len(rows) == len(pack(sequences, full)[0])
    assert length == longest or len(pack(sequences, length - multiple)[0]) > len(rows)


def test_sequences_without_a_common_beginning_fill_rows() -> None:
    sequences = [tuple(range(100 * number, 100 * number + 60)) for number in range(12)]
    rows, _, length = pack_evenly(sequences, 16)
    assert (len(rows), length) == (2, 368)
    assert sum(len(row.tokens) for row in rows) == 720
