"""What a run's folder holds, read for a report: whatever can be read, and what could not be."""

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
    """A file of episodes, and what they were played for. ``label`` names it within the run."""

    label: str
    kind: Kind
    episodes: tuple[Episode, ...]


@dataclass(frozen=True)
class Run:
    """A run's folder, read.

    ``curves`` holds each training stage's lines of metrics, ``wall_seconds`` how long stages worked, ``value_estimates``
    what a stage 2's critics say of held-out decisions, each by the stage's folder. ``problems`` says what could not be
    read.
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
        """How the report calls it."""
        return self.recipe.name if self.recipe is not None else self.folder.name

    @property
    def evaluations(self) -> list[Source]:
        """The evaluations that have episodes."""
        return [source for source in self.sources if source.kind == "evaluation" and source.episodes]


def read_run(folder: Path) -> Run:
    """Read a run's folder, however far the run has come.

    Raises :class:`~step_hrl.errors.DataError` where there is no such folder.
    """
    if not folder.is_dir():
        raise DataError(str(folder), "no such folder", "give the folder of a run, such as runs/quickstart")
    problems: list[str] = []
    sources = tuple(_sources(folder, problems))
    stages = sorted(path.parent for path in folder.glob(f"**/{METRICS_FILE}") if _is_current(path, folder))
    curves = {_label(stage, folder): tuple(_metrics(stage / METRICS_FILE, problems)) for stage in stages}
    judged = {_label(stage, folder): tuple(_judgements(stage / VALUE_ESTIMATES_FILE, problems)) for stage in stages}
    worked = {_label(path, folder): seconds(path) for path in sorted(folder.glob("**")) if seconds(path) > 0}
    if not any(source.episodes for source in sources):
        problems.append(f"{folder}: no episodes yet; run `step-hrl run` with its recipe")
    return Run(
        folder,
        _recipe(folder / RECIPE_FILE, problems),
        sources,
        curves,
        worked,
        {stage: found for stage, found in judged.items() if found},
        tuple(problems),
    )


def _sources(folder: Path, problems: list[str]) -> Iterable[Source]:
    kinds: tuple[Kind, ...] = ("evaluation", "collection", "demonstrations")
    for kind in kinds:
        for path in sorted((folder / kind).glob(f"**/{EPISODES_FILE}")):
            if _is_current(path, folder):
                episodes, complaints = salvage_episodes(path)
                problems += complaints
                yield Source(_label(path.parent, folder), kind, tuple(episodes))


def _is_current(path: Path, folder: Path) -> bool:
    """Whether a file is not in a folder that was moved aside."""
    return not any(".previous-" in part for part in path.relative_to(folder).parts)


def _label(place: Path, folder: Path) -> str:
    return "/".join(place.relative_to(folder).parts)


def _recipe(path: Path, problems: list[str]) -> Recipe | None:
    if not path.is_file():
        problems.append(f"{path}: not there, so prompts are shown as the paper's agent reads them")
        return None
    try:
        return load_recipe(path)
    except StepHrlError as error:
        problems.append(str(error))
        return None


def _metrics(path: Path, problems: list[str]) -> list[Mapping[str, float]]:
    return _readable(path, lambda line: _numbers(json.loads(line)), problems)


def _judgements(path: Path, problems: list[str]) -> list[ValueEstimate]:
    return _readable(path, from_line, problems) if path.is_file() else []


def _readable(path: Path, read: Callable[[str], Item], problems: list[str]) -> list[Item]:
    """The lines of a file that can be read, which may still be written to."""
    found: list[Item] = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        try:
            found.append(read(line))
        except ValueError as error:
            problems.append(f"{path}: line {number}: {error}; left out")
    return found


def _numbers(content: Any) -> dict[str, float]:
    """An object of numbers. Raises ValueError for anything else."""
    if not isinstance(content, dict):
        raise ValueError("not an object")
    entries = cast("dict[str, Any]", content)
    if not all(isinstance(value, (int, float)) for value in entries.values()):
        raise ValueError("not all values are numbers")
    return entries
