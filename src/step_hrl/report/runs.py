"""Reads a run's folder for a report, and lists what cannot be read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from step_hrl.config import Recipe
from step_hrl.data.episode_files import salvage_episodes
from step_hrl.errors import DataError, StepHrlError
from step_hrl.recipes import load_recipe
from step_hrl.runs.layout import EPISODES_FILE, METRICS_FILE, RECIPE_FILE, VALUE_ESTIMATES_FILE
from step_hrl.runs.timing import seconds
from step_hrl.training.value_estimates import ValueEstimate, from_line
from step_hrl.types import Episode

Item = TypeVar("Item")
Kind = Literal["demonstrations", "collection", "evaluation"]


@dataclass(frozen=True)
class Source:
    """An episode file and what it was played for. ``label`` names it within the run."""

    label: str
    kind: Kind
    episodes: tuple[Episode, ...]


@dataclass(frozen=True)
class Run:
    """The contents of a run's folder.

    By stage folder, ``curves`` holds the training metrics, ``wall_seconds`` the wall time, and ``value_estimates`` the
    critics' estimates on validation decisions. ``problems`` lists what could not be read.
    """

    folder: Path
    recipe: Recipe | None
    sources: tuple[Source, ...]
    curves: Mapping[str, tuple[Mapping[str, float], ...]]
    wall_seconds: Mapping[str, float]
    value_estimates: Mapping[str, tuple[ValueEstimate, ...]]
    problems: tuple[str, ...] = field(default=())

    @property
    def name(self) -> str:
        """The run's name in the report."""
        return self.recipe.name if self.recipe is not None else self.folder.name

    @property
    def evaluations(self) -> list[Source]:
        """The evaluations that have episodes."""
        return [source for source in self.sources if source.kind == "evaluation" and source.episodes]


def read_run(folder: Path) -> Run:
    """Read a run's folder, finished or not.

    Raises :class:`~step_hrl.errors.DataError` if the folder does not exist.
    """
    if not folder.is_dir():
        raise DataError(str(folder), "no such folder", "give the folder of a run, such as runs/quickstart")
    problems: list[str] = []
    sources = tuple(_sources(folder, problems))
    stages = sorted(path.parent for path in folder.glob(f"**/{METRICS_FILE}") if _is_current(path, folder))
    curves = {_label(stage, folder): tuple(_metrics(stage / METRICS_FILE, problems)) for stage in stages}
    estimates = {_label(stage, folder): tuple(_estimates(stage / VALUE_ESTIMATES_FILE, problems)) for stage in stages}
    times = {_label(path, folder): spent for path in sorted(folder.glob("**")) if (spent := seconds(path)) > 0}
    if not any(source.episodes for source in sources):
        problems.append(f"{folder}: no episodes yet; run `step-hrl run` with its recipe")
    return Run(
        folder,
        _recipe(folder / RECIPE_FILE, problems),
        sources,
        curves,
        times,
        {stage: lines for stage, lines in estimates.items() if lines},
        tuple(problems),
    )


def _sources(folder: Path, problems: list[str]) -> Iterable[Source]:
    kinds: tuple[Kind, ...] = ("evaluation", "collection", "demonstrations")
    for kind in kinds:
        for path in sorted((folder / kind).glob(f"**/{EPISODES_FILE}")):
            if _is_current(path, folder):
                episodes, unreadable = salvage_episodes(path)
                problems += unreadable
                yield Source(_label(path.parent, folder), kind, tuple(episodes))


def _is_current(path: Path, folder: Path) -> bool:
    """Whether no folder above a file was moved aside; step-hrl 0.1 named those ``.superseded-<number>``."""
    parts = path.relative_to(folder).parts
    return not any(mark in part for part in parts for mark in (".previous-", ".superseded-"))


def _label(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _recipe(path: Path, problems: list[str]) -> Recipe | None:
    if not path.is_file():
        problems.append(f"{path}: no such file; prompts are shown as for the agent step_hrl")
        return None
    try:
        return load_recipe(path)
    except StepHrlError as error:
        problems.append(f"{error}; prompts are shown as for the agent step_hrl")
        return None


def _metrics(path: Path, problems: list[str]) -> list[Mapping[str, float]]:
    return _readable(path, lambda line: _numbers(json.loads(line)), problems)


def _estimates(path: Path, problems: list[str]) -> list[ValueEstimate]:
    return _readable(path, from_line, problems) if path.is_file() else []


def _readable(path: Path, read: Callable[[str], Item], problems: list[str]) -> list[Item]:
    """The readable lines of a file that may still be written to."""
    items: list[Item] = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        try:
            items.append(read(line))
        except ValueError as error:
            problems.append(f"{path}: line {number}: {error}; left out")
    return items


def _numbers(content: Any) -> dict[str, float]:
    """An object of numbers. Raises ValueError for other content."""
    if not isinstance(content, dict):
        raise ValueError("not an object")
    entries = cast("dict[str, Any]", content)
    if not all(isinstance(value, (int, float)) for value in entries.values()):
        raise ValueError("not all values are numbers")
    return entries
