"""Comparison of agents, each trained and evaluated once per seed on the same demonstrations, tasks and token budget.

A cell is one agent with one seed: a recipe's run in its own folder. Finished cells are skipped.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from step_hrl.config import AgentVariant, CompareConfig, Recipe
from step_hrl.data.codec import to_json
from step_hrl.errors import RecipeError, did_you_mean
from step_hrl.models.cost import Prices, Shape
from step_hrl.pipeline import Pipeline
from step_hrl.recipes import to_yaml
from step_hrl.report import plots, tables
from step_hrl.report.comparison import Compared, WallTime, compare
from step_hrl.runs.files import write_atomically, write_if_changed, written_whole
from step_hrl.runs.layout import RECIPE_FILE, SUMMARY_FILE, RunLayout
from step_hrl.runs.lock import RunLock
from step_hrl.runs.timing import seconds
from step_hrl.types import Episode

COMPARISON_VERSION = 1
"""Version of ``comparison.json``; it increases whenever a field changes meaning."""


class Comparison:
    """The cells of a recipe's agents, in folders below its output folder."""

    def __init__(self, recipe: Recipe, console: Console) -> None:
        """Create and check the recipes of all cells. Raises :class:`~step_hrl.errors.StepHrlError`."""
        if recipe.compare is None:
            raise RecipeError("compare", "not in the recipe", "add a section `compare:` with `agents:` and `tokens:`")
        if recipe.offline_rl is not None and recipe.compare.offline_rl_tokens is None:
            remedy = "set each agent's tokens in stage 2, or remove `offline_rl:`"
            raise RecipeError("compare.offline_rl_tokens", "missing, although the recipe has stage 2", remedy)
        self._recipe = recipe
        self.lock = RunLock(recipe.folder)
        self._compare: CompareConfig = recipe.compare
        self._console = console
        self._cells = {
            (name, seed): Pipeline(
                self._cell(name, variant, seed),
                console,
                demonstrations=recipe.folder / f"seed{seed}" / "demonstrations",
            )
            for seed in self._compare.seeds
            for name, variant in self._compare.agents.items()
        }

    def run(self) -> dict[str, dict[str, Compared]]:
        """Run the unfinished cells, then compare agents on each split; return the results by split and agent.

        Writes ``comparison.json``, ``comparison.md`` and plots.
        """
        with self.lock:
            return self._run_all()

    def _run_all(self) -> dict[str, dict[str, Compared]]:
        write_if_changed(self._recipe.folder / RECIPE_FILE, to_yaml(self._recipe))
        for number, (name, seed) in enumerate(self._cells, start=1):
            position = f"cell {number} of {len(self._cells)}{self._time_left()}"
            self._console.print(f"{name}, seed {seed}: {position}", markup=False, style="bold")
            self._run(name, seed)
        results = {split: self._compared(split) for split in self._recipe.evaluation.splits}
        self._write(results)
        return results

    def run_only(self, cells: Sequence[str]) -> None:
        """Run some cells, such as ``flat/1``; other processes may run other cells of the same folder meanwhile.

        Raises :class:`~step_hrl.errors.RecipeError` for a cell that does not exist.
        """
        by_name = {f"{name}/{seed}": (name, seed) for name, seed in self._cells}
        for cell in cells:
            if cell not in by_name:
                raise RecipeError("--only", f"no cell {cell!r}", did_you_mean(cell, by_name))
        for cell in cells:
            self._console.print(cell, markup=False, style="bold")
            self._run(*by_name[cell])
        unfinished = [cell for cell, key in by_name.items() if not _is_finished(self._cells[key])]
        finished = "all cells are finished: compare without --only"
        self._console.print(f"not finished: {', '.join(unfinished)}" if unfinished else finished, markup=False)

    def _run(self, name: str, seed: int) -> None:
        """Run a cell. It reuses stage 1 of a cell of the same seed that differs only in stage 2."""
        cell = self._cells[name, seed]
        agents = self._compare.agents
        with cell.lock:
            for other, variant in agents.items():
                if other != name and variant.agent == agents[name].agent:
                    self._copy_stage_1(self._cells[other, seed].context.layout, cell.context.layout)
            cell.run()

    def _copy_stage_1(self, source: RunLayout, target: RunLayout) -> None:
        """Copy the policy of stage 1 and its finished evaluations to a cell that has not started stage 1."""
        policy = source.policy(0)
        if not policy.is_dir() or target.policy(0).parent.exists():
            return
        _copy(policy.parent, target.policy(0).parent)
        for split in self._recipe.evaluation.splits:
            evaluation = source.evaluation(source.label(policy), split)
            if (evaluation / SUMMARY_FILE).is_file():
                _copy(evaluation, target.evaluations / evaluation.name)
        self._console.print(f"behavior cloning: reusing {policy}", markup=False)

    def _cell(self, name: str, variant: AgentVariant, seed: int) -> Recipe:
        """The recipe of one agent with one seed."""
        training = self._recipe.behavior_cloning.model_copy(update={"tokens": self._compare.tokens})
        stage_2 = self._recipe.offline_rl if variant.stage_2 else None
        if stage_2 is not None:
            weights = variant.data_weights or stage_2.data_weights
            budget = {"tokens": self._compare.offline_rl_tokens, "data_weights": weights}
            stage_2 = stage_2.model_copy(update=budget)
        changes: dict[str, Any] = {
            "name": f"{self._recipe.name}/{name}",
            "seed": seed,
            "output": str(self._recipe.folder / f"seed{seed}" / name),
            "agent": variant.agent,
            "behavior_cloning": training,
            "evaluation": self._recipe.evaluation.model_copy(update={"untrained_per_task": 0}),
            "offline_rl": stage_2,
            "compare": None,
        }
        return self._recipe.model_copy(update=changes)

    def _time_left(self) -> str:
        """The time left, from the mean time of the finished cells; empty while none is finished."""
        finished = [_spent_seconds(pipeline) for pipeline in self._cells.values() if _is_finished(pipeline)]
        left = len(self._cells) - len(finished)
        return f", about {left * sum(finished) / len(finished) / 60:.1f} min left" if finished and left else ""

    def _compared(self, split: str) -> dict[str, Compared]:
        episodes: dict[str, dict[int, list[Episode]]] = {name: {} for name in self._compare.agents}
        for (name, seed), pipeline in self._cells.items():
            episodes[name][seed] = pipeline.evaluation(split, pipeline.policy_folder).load()
        prices = Prices(**self._compare.prices.model_dump()) if self._compare.prices else None
        return compare(episodes, self._shapes, prices, self._training_tokens, self._wall_times(split, episodes))

    @property
    def _training_tokens(self) -> dict[str, int]:
        rounds = self._recipe.collection.rounds if self._recipe.offline_rl else 0
        stage_2 = rounds * (self._compare.offline_rl_tokens or 0)
        return {
            name: self._compare.tokens + (stage_2 if variant.stage_2 else 0)
            for name, variant in self._compare.agents.items()
        }

    def _wall_times(self, split: str, episodes: Mapping[str, Mapping[int, Sequence[Episode]]]) -> dict[str, WallTime]:
        times: dict[str, WallTime] = {}
        for agent, by_seed in episodes.items():
            cells = [pipeline for (name, _), pipeline in self._cells.items() if name == agent]
            times[agent] = WallTime(
                training=sum(map(_training_seconds, cells)) / len(cells),
                playing=sum(seconds(cell.evaluation(split, cell.policy_folder).folder) for cell in cells)
                / sum(map(len, by_seed.values())),
            )
        return times

    @property
    def _lengths(self) -> dict[str, float]:
        """The expert's mean number of actions, by task, over the first seed's demonstrations."""
        actions: dict[str, list[int]] = {}
        for episode in next(iter(self._cells.values())).demonstrations.load():
            actions.setdefault(episode.task.name, []).append(len(episode.steps))
        return {name: sum(counts) / len(counts) for name, counts in actions.items()}

    @property
    def _shapes(self) -> dict[str, Shape]:
        """The policies' decoder shapes, without those of adapters, whose folders have no ``config.json``."""
        folders = {name: pipeline.policy_folder for (name, _), pipeline in self._cells.items()}
        return {name: Shape.read(folder) for name, folder in folders.items() if (folder / "config.json").is_file()}

    def _write(self, results: dict[str, dict[str, Compared]]) -> None:
        folder = self._recipe.folder
        content = {
            "comparison_version": COMPARISON_VERSION,
            "recipe": self._recipe.model_dump(mode="json"),
            "splits": to_json(results),
        }
        write_atomically(folder / "comparison.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")
        write_atomically(folder / "comparison.md", "\n".join(self._sections(results)))
        for split, agents in results.items():
            first = next(iter(agents))
            title = f"{split}: scores out of 100, with 95% intervals; differences to {first}"
            self._console.print(tables.terminal(agents, title))
        self._console.print(f"all figures: {folder / 'comparison.md'}", markup=False)
        for path in self._plots(results):
            self._console.print(f"plot: {path}", markup=False)

    def _sections(self, results: dict[str, dict[str, Compared]]) -> Iterator[str]:
        for split, agents in results.items():
            yield f"## {split}\n\n{tables.markdown(agents)}\n{tables.markdown_by_task(agents, self._lengths)}"

    def _plots(self, results: dict[str, dict[str, Compared]]) -> list[Path]:
        if not plots.available():
            self._console.print("no plots: pip install 'step-hrl[report]'", markup=False)
            return []
        folder = self._recipe.folder
        return [path for split, agents in results.items() for path in plots.draw(agents, self._lengths, folder, split)]


def _is_finished(pipeline: Pipeline) -> bool:
    """Whether the last round's policy has been evaluated on all of the recipe's splits."""
    splits = pipeline.recipe.evaluation.splits
    return all(pipeline.evaluation(split, pipeline.policy_folder).is_done for split in splits)


def _training_seconds(pipeline: Pipeline) -> float:
    """Wall time of both training stages."""
    return sum(seconds(pipeline.context.layout.policy(number).parent) for number in (0, *pipeline.rounds))


def _spent_seconds(pipeline: Pipeline) -> float:
    """Wall time of all stages except the demonstrations."""
    layout = pipeline.context.layout
    folders = [layout.collected(number).parent for number in pipeline.rounds]
    for split in pipeline.recipe.evaluation.splits:
        for policy in {layout.policy(0), pipeline.policy_folder}:
            folders.append(pipeline.evaluation(split, policy).folder)
    return _training_seconds(pipeline) + sum(map(seconds, folders))


def _copy(stage: Path, target: Path) -> None:
    """Copy a stage's folder without its checkpoints."""
    with written_whole(target) as scratch:
        shutil.copytree(stage, scratch, dirs_exist_ok=True, ignore=shutil.ignore_patterns("checkpoint-*"))
