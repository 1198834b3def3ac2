"""Rows of tokens that hold several sequences as prefix trees: a common beginning is read once. Pure.

The decisions of one instant begin with the same observation, and those of consecutive instants mostly with the same
surroundings. Every sequence is a path from the start of its row; each token attends to the path that leads to it, and
its position is its depth. A model so computes the same hidden states as for one row a sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import NamedTuple

ROW_TOKENS = 384
"""Number of tokens at which a row is full. Attention reads a whole row, so longer rows share more and cost more."""


@dataclass(slots=True)
class Row:
    """Tokens of one or more prefix trees, in the order of a depth-first search.

    A token's ``subtree_end`` is the index after the last token whose path it is on; ``positions`` are depths, from 0.
    """

    tokens: list[int] = field(default_factory=list[int])
    positions: list[int] = field(default_factory=list[int])
    subtree_end: list[int] = field(default_factory=list[int])


class Place(NamedTuple):
    """Where a sequence is: its row, and the index of each of its tokens in it."""

    row: int
    path: Sequence[int]


def pack(sequences: Sequence[Sequence[int]], length: int) -> tuple[list[Row], list[Place]]:
    """Pack sequences into rows of at most ``length`` tokens; a longer sequence gets a row of its own.

    Neighbors in alphabetical order share most: they are put into the same row while it has room.

    Returns:
        The rows, and the place of each sequence in the order given.

    >>> rows, places = pack([(5, 6, 8), (5, 6, 7, 9), (4, 3)], length=7)
    >>> [row.tokens for row in rows], rows[0].subtree_end, rows[0].positions
    ([[4, 3, 5, 6, 7, 9, 8]], [2, 2, 7, 7, 6, 6, 7], [0, 1, 0, 1, 2, 3, 2])
    >>> [list(place.path) for place in places]
    [[2, 3, 6], [2, 3, 4, 5], [0, 1]]
    """
    rows: list[Row] = []
    places: dict[int, Place] = {}
    previous: Sequence[int] = ()
    path: list[int] = []
    for index in sorted(range(len(sequences)), key=lambda index: tuple(sequences[index])):
        sequence = sequences[index]
        shared = common_prefix(previous, sequence)
        if not rows or len(rows[-1].tokens) + len(sequence) - shared > length:
            rows.append(Row())
            shared = 0
        row = rows[-1]
        first = len(row.tokens)
        row.tokens += sequence[shared:]
        row.positions += range(shared, len(sequence))
        path = [*path[:shared], *range(first, len(row.tokens))]
        row.subtree_end += [0] * (len(row.tokens) - first)
        for token in path:
            row.subtree_end[token] = len(row.tokens)
        previous = sequence
        places[index] = Place(len(rows) - 1, path)
    return rows, [places[index] for index in range(len(sequences))]


def pack_evenly(sequences: Sequence[Sequence[int]], multiple: int) -> tuple[list[Row], list[Place], int]:
    """Pack sequences into as few rows of about ``ROW_TOKENS`` as hold them, of the smallest length that suffices.

    Returns:
        The rows, the place of each sequence, and the length that all rows are to be padded to, a multiple of
        ``multiple``.
    """
    longest = rounded(max(map(len, sequences)), multiple)
    limit = max(rounded(ROW_TOKENS, multiple), longest)
    fewest = len(pack(sequences, limit)[0])
    for length in range(longest, limit, multiple):
        rows, places = pack(sequences, length)
        if len(rows) <= fewest:
            return rows, places, length
    return *pack(sequences, limit), limit


def tokens_read(sequences: Sequence[Sequence[int]]) -> int:
    """Number of tokens of sequences when common beginnings are read once.

    >>> tokens_read([(5, 6, 8), (5, 6, 7, 9), (5, 6)])
    5
    """
    total, previous = 0, ()
    for sequence in sorted(map(tuple, sequences)):
        total += len(sequence) - common_prefix(previous, sequence)
        previous = sequence
    return total


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """Number of tokens that two sequences have in common at the beginning."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def rounded(length: int, multiple: int) -> int:
    """Round a length up to a multiple.

    Lengths are padded to it so that few shapes occur: compiling a CPU kernel for a new shape takes longer than running
    it.

    >>> rounded(33, 16), rounded(32, 16)
    (48, 32)
    """
    return -(-length // multiple) * multiple
