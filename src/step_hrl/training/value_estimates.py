"""The critics' estimates of single decisions beside the returns observed. Pure."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from step_hrl.data.codec import from_json, to_json
from step_hrl.errors import DataError


@dataclass(frozen=True, slots=True)
class ValueEstimate:
    """V(s) and Q(s, u) of one decision, and its discounted return to go in its trajectory.

    ``number`` counts the decisions of a role in an episode from 0.
    """

    episode_id: str
    role: str
    number: int
    value: float
    q: float
    return_to_go: float


def to_lines(estimates: Iterable[ValueEstimate]) -> str:
    """Encode estimates as JSON, one line each."""
    return "".join(json.dumps(to_json(estimate), allow_nan=False) + "\n" for estimate in estimates)


def from_line(line: str) -> ValueEstimate:
    """Decode one line. Raises ValueError where it is not a value estimate."""
    try:
        return from_json(ValueEstimate, json.loads(line))
    except DataError as error:
        raise ValueError(f"not a value estimate ({error.where}: {error.got})") from error


def rank_correlations(estimates: Sequence[ValueEstimate]) -> dict[str, float]:
    """Rank correlation (Spearman) of V(s) with the return to go, by role.

    A role with fewer than three different returns has no entry.
    """
    by_role: dict[str, list[ValueEstimate]] = {}
    for estimate in estimates:
        by_role.setdefault(estimate.role, []).append(estimate)
    return {
        role: spearman([each.value for each in group], [each.return_to_go for each in group])
        for role, group in by_role.items()
        if len({each.return_to_go for each in group}) > 2
    }


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Rank correlation; equal values share the mean of their ranks. 0 where one side is constant.

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
