"""What critics say of single decisions, beside what followed: to look at, and to tell what they are worth. Pure."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from step_hrl.data.codec import from_json, to_json
from step_hrl.errors import DataError


@dataclass(frozen=True, slots=True)
class Judgement:
    """V(s) and Q(s, u) of one decision, and the discounted return that followed it in its chain.

    ``number`` counts the decisions of a role in an episode from 0.
    """

    episode_id: str
    role: str
    number: int
    value: float
    q: float
    followed: float


def to_lines(judgements: Iterable[Judgement]) -> str:
    """One JSON object a line."""
    return "".join(json.dumps(to_json(judgement), allow_nan=False) + "\n" for judgement in judgements)


def from_line(line: str) -> Judgement:
    """Read one back. Raises ValueError for what is none."""
    try:
        return from_json(Judgement, json.loads(line))
    except DataError as error:
        raise ValueError(f"no judgement ({error.where}: {error.got})") from error


def rank_correlations(judgements: Sequence[Judgement]) -> dict[str, float]:
    """Rank correlation (Spearman) of V(s) with what followed, by role.

    A role with fewer than three different returns has no entry.
    """
    roles = dict.fromkeys(judgement.role for judgement in judgements)
    found = {role: [judgement for judgement in judgements if judgement.role == role] for role in roles}
    return {
        role: spearman([some.value for some in judged], [some.followed for some in judged])
        for role, judged in found.items()
        if len({some.followed for some in judged}) > 2
    }


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Rank correlation; equal values share the mean of their ranks. 0 where one side does not vary.

    >>> round(spearman([1.0, 2.0, 3.0, 4.0], [1.0, 9.0, 8.0, 70.0]), 3)
    0.8
    """
    if len(set(first)) < 2 or len(set(second)) < 2:
        return 0.0
    return statistics.correlation(_ranks(first), _ranks(second))


def _ranks(values: Sequence[float]) -> list[float]:
    below, rank = 0, dict[float, float]()
    for value, count in sorted(Counter(values).items()):
        rank[value] = below + (count + 1) / 2
        below += count
    return [rank[value] for value in values]
