"""Rows of tokens that hold several sequences as prefix trees: a common beginning is read once. Pure.

The decisions of one instant begin with the same observation, and those of consecutive instants mostly with the same
surroundings. Every sequence is a path from the start of its row; each token attends to the path that leads to it, and
its position is its depth. A model so computes the same hidden states as for one row a sequence.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
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
    return _pack(sequences, _alphabetical(sequences), length)


def pack_evenly(sequences: Sequence[Sequence[int]], multiple: int) -> tuple[list[Row], list[Place], int]:
    """Pack sequences into as few rows of about ``ROW_TOKENS`` as hold them, of the smallest length that suffices.

    Returns:
        The rows, the place of each sequence, and the length that all rows are to be padded to, a multiple of
        ``multiple``.
    """
    order = _alphabetical(sequences)
    longest = rounded(max(map(len, sequences)), multiple)
    limit = max(rounded(ROW_TOKENS, multiple), longest)
    fewest = sum(_opens_row(order, limit))
    length = next(each for each in range(longest, limit + 1, multiple) if sum(_opens_row(order, each)) == fewest)
    return *_pack(sequences, order, length), length


def tokens_read(sequences: Sequence[Sequence[int]]) -> int:
    """Number of tokens of sequences when common beginnings are read once.

    >>> tokens_read([(5, 6, 8), (5, 6, 7, 9), (5, 6)])
    5
    """
    return sum(entry.length - entry.shared for entry in _alphabetical(sequences))


class PrefixTree:
    """Counts the tokens of a growing set of sequences when common beginnings are read once.

    >>> tree = PrefixTree([(5, 6, 8)])
    >>> tree.add((5, 6, 7, 9))
    >>> tree.tokens
    5
    """

    def __init__(self, sequences: Iterable[tuple[int, ...]] = ()) -> None:
        """Count these sequences."""
        self._ordered: list[tuple[int, ...]] = []
        self.tokens = 0
        for sequence in sequences:
            self.add(sequence)

    def add(self, sequence: tuple[int, ...]) -> None:
        """Add a sequence. It shares most with a neighbor in alphabetical order."""
        place = bisect(self._ordered, sequence)
        neighbors = self._ordered[max(0, place - 1) : place + 1]
        self.tokens += len(sequence) - max((common_prefix(each, sequence) for each in neighbors), default=0)
        self._ordered.insert(place, sequence)


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """Number of tokens that two sequences have in common at the beginning.

    >>> common_prefix((5, 6, 8), (5, 6, 7, 9)), common_prefix((5, 6), (5, 6, 7))
    (2, 2)
    """
    for index, (token, its) in enumerate(zip(one, other, strict=False)):
        if token != its:
            return index
    return min(len(one), len(other))


class _Entry(NamedTuple):
    """A sequence in alphabetical order: its number, its length, and how many tokens it shares with the one before."""

    number: int
    length: int
    shared: int


def _alphabetical(sequences: Sequence[Sequence[int]]) -> list[_Entry]:
    entries: list[_Entry] = []
    previous: Sequence[int] = ()
    for sequence, number in sorted((tuple(sequence), number) for number, sequence in enumerate(sequences)):
        entries.append(_Entry(number, len(sequence), common_prefix(previous, sequence)))
        previous = sequence
    return entries


def _opens_row(order: Sequence[_Entry], length: int) -> Iterator[bool]:
    """Whether each sequence opens a new row, because the row before has no room for what it does not share."""
    used = length
    for entry in order:
        used += entry.length - entry.shared
        opens = used > length
        if opens:
            used = entry.length
        yield opens


def _pack(sequences: Sequence[Sequence[int]], order: Sequence[_Entry], length: int) -> tuple[list[Row], list[Place]]:
    rows: list[Row] = []
    places: dict[int, Place] = {}
    path: list[int] = []
    for entry, opens in zip(order, _opens_row(order, length), strict=True):
        if opens:
            rows.append(Row())
        row, shared = rows[-1], 0 if opens else entry.shared
        first = len(row.tokens)
        row.tokens += sequences[entry.number][shared:]
        row.positions += range(shared, entry.length)
        path = [*path[:shared], *range(first, len(row.tokens))]
        row.subtree_end += [0] * (len(row.tokens) - first)
        for token in path:
            row.subtree_end[token] = len(row.tokens)
        places[entry.number] = Place(len(rows) - 1, path)
    return rows, [places[index] for index in range(len(sequences))]


def rounded(length: int, multiple: int) -> int:
    """Round a length up to a multiple.

    Lengths are padded to it so that few shapes occur: compiling a CPU kernel for a new shape takes longer than running
    it.

    >>> rounded(33, 16), rounded(32, 16)
    (48, 32)
    """
    return -(-length // multiple) * multiple
