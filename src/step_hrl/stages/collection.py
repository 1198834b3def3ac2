"""Episodes played to learn from: which, how they ended, and whether stage 2 can use them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.table import Table

from step_hrl.config import CollectionConfig
from step_hrl.errors import DataError
from step_hrl.types import Episode, Job, Task

TOKENIZER = "tokenizer"
"""Provenance: digest of the tokenizer whose policy played the episode."""
ENDINGS = ("success", "failure", "limit", "unreadable", "error")
_TOLERANCE = 1e-6


def collection_jobs(tasks: Sequence[Task], config: CollectionConfig, seed: int, number: int) -> list[Job]:
    """What is to be played in a round (counted from 1): no two rounds and repeats draw the same."""
    first = (number - 1) * config.repeats
    return [Job(task, seed, first + repeat) for repeat in range(config.repeats) for task in tasks]


def check_tokenizer(file: Path, episodes: Iterable[Episode], tokenizer: str) -> None:
    """Raise :class:`~step_hrl.errors.DataError` for an episode played with another tokenizer.

    Its replies may be cut where those of the policy to train never are.
    """
    for episode in episodes:
        played_with = episode.provenance.get(TOKENIZER)
        if played_with != tokenizer:
            got = f"collected with tokenizer {played_with}, the policy to train has {tokenizer}"
            raise DataError(f"{file}: episode {episode.id}", got, "collect with this policy")


def check_rewards(file: Path, episodes: Iterable[Episode]) -> None:
    """Raise :class:`~step_hrl.errors.DataError` for an episode whose rewards do not add up to its score."""
    for episode in episodes:
        total = episode.total_reward
        if not math.isfinite(total) or (episode.error is None and abs(total - episode.score) > _TOLERANCE):
            got = f"rewards add up to {total:g}, but the score is {episode.score:g}"
            raise DataError(f"{file}: episode {episode.id}", got, "remove the file and make its episodes again")


def endings_table(episodes: Sequence[Episode]) -> Table:
    """How the episodes ended, one line a task."""
    shown = Table(title="collected episodes", caption="how they ended, in %")
    for column in ("task", "episodes", "mean score", *ENDINGS):
        shown.add_column(column, justify="left" if column == "task" else "right", overflow="fold")
    names = list(dict.fromkeys(episode.task.name for episode in episodes))
    groups = {name: [episode for episode in episodes if episode.task.name == name] for name in names}
    for name, some in {**groups, "all": list(episodes)}.items():
        ended = Counter(episode.ending for episode in some)
        score = 100 * sum(max(0.0, episode.score) for episode in some) / max(1, len(some))
        shares = [f"{100 * ended[ending] / max(1, len(some)):.0f}" for ending in ENDINGS]
        shown.add_row(name, str(len(some)), f"{score:.1f}", *shares)
    return shown
