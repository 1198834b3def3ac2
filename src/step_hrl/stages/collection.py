"""Collection: episodes of the policy on train tasks, for stage 2 to learn from."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from step_hrl.config import CollectionConfig
from step_hrl.data.episode_files import read_episodes
from step_hrl.errors import DataError
from step_hrl.runs.manifest import digest_file
from step_hrl.stages.base import RunContext, select
from step_hrl.stages.playing import play_jobs, policy_engine
from step_hrl.types import Episode, Job, Task

TOKENIZER = "tokenizer"
"""Provenance: digest of the tokenizer whose policy played the episode."""
ENDINGS = ("success", "failure", "limit", "unreadable", "error")
_TOLERANCE = 1e-6


class Collection:
    """One round of collection: every train task is played with the policy of the round before."""

    name = "collection"

    def __init__(self, context: RunContext, number: int) -> None:
        """``number`` counts rounds from 1. Raises :class:`~step_hrl.errors.WorldError` for an unknown split."""
        self._context = context
        self._number = number
        self._policy = context.layout.policy(number - 1)
        config = context.recipe.collection
        tasks = context.tasks(config.split, config.per_task)
        self.jobs = collection_jobs(tasks, config, context.recipe.seed, number)

    @property
    def file(self) -> Path:
        """The episode file."""
        return self._context.layout.collected(self._number)

    @property
    def folder(self) -> Path:
        """The round's."""
        return self.file.parent

    @property
    def inputs(self) -> Mapping[str, Any]:
        """The policy and how it plays and samples."""
        config = self._context.recipe.collection
        return {
            **self._context.playing_inputs(self._policy, config.split),
            "sampling": {"temperature": config.temperature, "top_p": config.top_p},
        }

    def run(self) -> list[Episode]:
        """Play what the file does not hold yet; print how the episodes ended."""
        recipe, config = self._context.recipe, self._context.recipe.collection
        sampling = {"temperature": config.temperature, "top_p": config.top_p}
        generation = recipe.generation.model_copy(update=sampling)
        episodes = play_jobs(
            self._context,
            self.jobs,
            lambda: policy_engine(self._context, self._policy, generation),
            file=self.file,
            label=f"collection, round {self._number}",
            provenance={
                **self._context.provenance(config.split),
                "policy": self._context.policy_digest(self._policy),
                TOKENIZER: self._tokenizer_digest,
            },
        )
        self._context.console.print(endings_table(episodes))
        return episodes

    def load(self) -> list[Episode]:
        """The round's episodes in the order of its jobs.

        Raises :class:`~step_hrl.errors.DataError` where some are missing, or where stage 2 cannot use them.
        """
        stored = read_episodes(self.file) if self.file.is_file() else []
        episodes, missing = select(stored, self.jobs)
        if missing:
            got = f"{len(episodes) or 'none'} of {len(self.jobs)} collected episodes"
            raise DataError(str(self.file), got, "run `step-hrl collect` with this recipe")
        check_tokenizer(self.file, episodes, self._tokenizer_digest)
        check_rewards(self.file, episodes)
        return episodes

    @property
    def _tokenizer_digest(self) -> str:
        file = self._policy / "tokenizer.json"
        if not file.is_file():
            raise DataError(str(self._policy), "no policy there (no tokenizer.json)", "train the stage before")
        return digest_file(file)


def collection_jobs(tasks: Sequence[Task], config: CollectionConfig, seed: int, number: int) -> list[Job]:
    """The episodes of a round (counted from 1). No two rounds and repeats sample the same."""
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
