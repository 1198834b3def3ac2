"""Agents against one another: each trained and played once a seed, on the same demonstrations, tasks and tokens.

A cell is one agent with one seed, a recipe's run in a folder of its own. Cells that are finished are not done again.
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
"""Version of ``comparison.json``; raised whenever a field changes meaning."""


class Comparison:
    """A recipe's agents, in cells below its output folder."""

    def __init__(self, recipe: Recipe, console: Console) -> None:
        """Check all cells' recipes at once. Raises :class:`~step_hrl.errors.StepHrlError`."""
        if recipe.compare is None:
            raise RecipeError("compare", "not in the recipe", "add a section `compare:` with `agents:` and `tokens:`")
        if recipe.offline_rl is not None and recipe.compare.offline_rl_tokens is None:
            remedy = "say how many tokens each agent reads in it, or leave out `offline_rl:`"
            raise RecipeError("compare.offline_rl_tokens", "missing, with stage 2 in the recipe", remedy)
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
        """Run what is not done yet, then compare: by split, by agent. Writes JSON, Markdown and plots."""
        with self.lock:
            return self._run_all()

    def _run_all(self) -> dict[str, dict[str, Compared]]:
        write_if_changed(self._recipe.folder / RECIPE_FILE, to_yaml(self._recipe))
        for number, (name, seed) in enumerate(self._cells, start=1):
            place = f"cell {number} of {len(self._cells)}{self._left()}"
            self._console.print(f"{name}, seed {seed}: {place}", markup=False, style="bold")
            self._run(name, seed)
        results = {split: self._compared(split) for split in self._recipe.evaluation.splits}
        self._write(results)
        return results

    def run_only(self, cells: Sequence[str]) -> None:
        """Run some cells, such as ``flat/1``; others may be run beside them, by processes that share the folder.

        Raises :class:`~step_hrl.errors.RecipeError` for a cell that does not exist.
        """
        by_name = {f"{name}/{seed}": (name, seed) for name, seed in self._cells}
        for cell in cells:
            if cell not in by_name:
                raise RecipeError("--only", f"no cell {cell!r}", did_you_mean(cell, by_name))
        for cell in cells:
            self._console.print(cell, markup=False, style="bold")
            self._run(*by_name[cell])
        left = [cell for cell, place in by_name.items() if not _is_finished(self._cells[place])]
        told = f"not finished: {', '.join(left)}" if left else "all cells are finished: compare without --only"
        self._console.print(told, markup=False)

    def _run(self, name: str, seed: int) -> None:
        """Run a cell. Who differs only in stage 2 from another begins with that one's stage 1, if it is there."""
        cell = self._cells[name, seed]
        agents = self._compare.agents
        with cell.lock:
            for other, variant in agents.items():
                if other != name and variant.agent == agents[name].agent:
                    self._share_stage_1(self._cells[other, seed].context.layout, cell.context.layout)
            cell.run()

    def _share_stage_1(self, done: RunLayout, begun: RunLayout) -> None:
        """Copy a policy of stage 1 and what it has played to a cell that has none."""
        policy = done.policy(0)
        if not policy.is_dir() or begun.policy(0).parent.exists():
            return
        _copy(policy.parent, begun.policy(0).parent)
        for split in self._recipe.evaluation.splits:
            played = done.evaluation(done.label(policy), split)
            if (played / SUMMARY_FILE).is_file():
                _copy(played, begun.evaluations / played.name)
        self._console.print(f"behavior cloning: {policy} is taken over", markup=False)

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

    def _left(self) -> str:
        """How long all will still take, if cells take as long as those that are finished; nothing while none is."""
        done = [_spent_seconds(pipeline) for pipeline in self._cells.values() if _is_finished(pipeline)]
        left = len(self._cells) - len(done)
        return f", about {left * sum(done) / len(done) / 60:.1f} min left" if done and left else ""

    def _compared(self, split: str) -> dict[str, Compared]:
        played: dict[str, dict[int, list[Episode]]] = {name: {} for name in self._compare.agents}
        for (name, seed), pipeline in self._cells.items():
            played[name][seed] = pipeline.evaluation(split, pipeline.policy_folder).load()
        prices = Prices(**self._compare.prices.model_dump()) if self._compare.prices else None
        return compare(played, self._shapes, prices, self._training_tokens, self._wall_times(split, played))

    @property
    def _training_tokens(self) -> dict[str, int]:
        rounds = self._recipe.collection.rounds if self._recipe.offline_rl else 0
        stage_2 = rounds * (self._compare.offline_rl_tokens or 0)
        return {
            name: self._compare.tokens + (stage_2 if variant.stage_2 else 0)
            for name, variant in self._compare.agents.items()
        }

    def _wall_times(self, split: str, played: Mapping[str, Mapping[int, Sequence[Episode]]]) -> dict[str, WallTime]:
        times: dict[str, WallTime] = {}
        for agent, episodes in played.items():
            cells = [pipeline for (name, _), pipeline in self._cells.items() if name == agent]
            times[agent] = WallTime(
                training=sum(map(_training_seconds, cells)) / len(cells),
                playing=sum(seconds(cell.evaluation(split, cell.policy_folder).folder) for cell in cells)
                / sum(map(len, episodes.values())),
            )
        return times

    @property
    def _lengths(self) -> dict[str, float]:
        """Mean actions of the expert, by task, over the first seed's demonstrations."""
        actions: dict[str, list[int]] = {}
        for episode in next(iter(self._cells.values())).demonstrations.load():
            actions.setdefault(episode.task.name, []).append(len(episode.steps))
        return {name: sum(counts) / len(counts) for name, counts in actions.items()}

    @property
    def _shapes(self) -> dict[str, Shape]:
        """The policies' shapes; adapters do not tell theirs."""
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
    """Whether the latest policy has been scored on all of the recipe's splits."""
    splits = pipeline.recipe.evaluation.splits
    return all(pipeline.evaluation(split, pipeline.policy_folder).is_done for split in splits)


def _training_seconds(pipeline: Pipeline) -> float:
    """Wall time of both training stages."""
    return sum(seconds(pipeline.context.layout.policy(number).parent) for number in (0, *pipeline.rounds))


def _spent_seconds(pipeline: Pipeline) -> float:
    """Wall time of all stages except the demonstrations."""
    layout = pipeline.context.layout
    played = [layout.collected(number).parent for number in pipeline.rounds]
    for split in pipeline.recipe.evaluation.splits:
        for policy in {layout.policy(0), pipeline.policy_folder}:
            played.append(pipeline.evaluation(split, policy).folder)
    return _training_seconds(pipeline) + sum(map(seconds, played))


def _copy(stage: Path, target: Path) -> None:
    """A stage's files and its policy, without what training could go on from."""
    with written_whole(target) as scratch:
        shutil.copytree(stage, scratch, dirs_exist_ok=True, ignore=shutil.ignore_patterns("checkpoint-*"))
