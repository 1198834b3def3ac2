"""The stages of a recipe: demonstrations, behaviour cloning, evaluation. Each goes on where it was left."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console

from step_hrl import stamps
from step_hrl.agents.base import Watcher
from step_hrl.agents.step_hrl import StepHrlAgent
from step_hrl.config import Recipe, WorldConfig
from step_hrl.demonstrations import demonstrate
from step_hrl.engines.base import Engine
from step_hrl.envs.base import World
from step_hrl.envs.pool import WorkerPool
from step_hrl.envs.registry import world_for
from step_hrl.errors import DataError, WorldError, did_you_mean
from step_hrl.evaluation import Summary, summarize, table, write_summary
from step_hrl.experts import audit
from step_hrl.renaming import renamed
from step_hrl.reporting import Reporter
from step_hrl.rollout import rollout
from step_hrl.storage import EpisodeWriter, encode_line, read_episodes, write_atomically
from step_hrl.transitions import distinct, transitions
from step_hrl.types import Episode, Job, Task, Transition

DEMONSTRATION_SECONDS = 300.0
"""How long one demonstration may take: solving, cleaning and replaying it."""


class Pipeline:
    """A recipe at work in its output folder."""

    def __init__(self, recipe: Recipe, console: Console) -> None:
        """Check the recipe's world and tasks at once. Raises :class:`~step_hrl.errors.StepHrlError`."""
        self.recipe = recipe
        self.world: World = world_for(recipe.world)
        self._console = console
        self._wanted = self._demonstration_jobs()
        for split in recipe.evaluation.splits:
            self._tasks(split, recipe.evaluation.per_task)

    @property
    def demonstrations_file(self) -> Path:
        """Where the demonstrations are."""
        return self.recipe.folder / "demonstrations" / "episodes.jsonl"

    @property
    def policy_folder(self) -> Path:
        """Where stage 1 leaves its policy."""
        return self.recipe.folder / "behavior_cloning" / "policy"

    def run(self) -> None:
        """All stages, then one table of what was reached."""
        self.demonstrations()
        self.behavior_cloning()
        summaries: dict[str, Summary] = {}
        for split in self.recipe.evaluation.splits:
            if self.recipe.evaluation.untrained:
                summaries[f"{split}, untrained"] = self.evaluate(split, policy=None)
            summaries[f"{split}, behaviour cloning"] = self.evaluate(split, policy=self.policy_folder)
        self._console.print(table(summaries))
        self._console.print(f"Everything is in {self.recipe.folder}", markup=False)

    def demonstrations(self) -> None:
        """Have the expert show every task that is not in the file yet; print what the data is like."""
        config, provenance = self.recipe.demonstrations, self.world.provenance()
        inputs = {
            "world": _identity(self.recipe.world),
            "versions": provenance,
            "action_limit": config.action_limit,
            "perturbed": config.perturbed,
            "seed": self.recipe.seed,
        }
        stamps.enter_stage(self.demonstrations_file.parent, inputs, self._console)
        with EpisodeWriter(self.demonstrations_file) as writer:
            left = [job for job in self._wanted if job.id not in writer.done]
            if left:
                total, have = len(self._wanted), len(self._wanted) - len(left)
                with (
                    self._pool(DEMONSTRATION_SECONDS) as pool,
                    Reporter(self._console, "demonstrations", total, start=have) as reporter,
                ):

                    def keep(episode: Episode) -> None:
                        writer.write(episode)
                        reporter.advance(note=episode.task.key)

                    demonstrate(
                        left,
                        pool,
                        action_limit=config.action_limit,
                        perturbed=config.perturbed,
                        on_episode=keep,
                    )
        audits = audit.audit(self.load_demonstrations())
        plain = json.dumps(audit.as_plain(audits), indent=1)
        write_atomically(self.demonstrations_file.with_name("audit.json"), plain + "\n")
        self._console.print(audit.table(audits))

    def load_demonstrations(self) -> list[Episode]:
        """The recipe's demonstrations in the order of its tasks. Raises DataError where some are missing."""
        found = {episode.id: episode for episode in read_episodes(self.demonstrations_file)}
        ids = [job.id for job in self._wanted]
        missing = [name for name in ids if name not in found]
        if missing:
            raise DataError(
                str(self.demonstrations_file),
                f"{len(missing)} of {len(ids)} demonstrations are missing, such as {missing[0]}",
                "run `step-hrl demos` with this recipe",
            )
        return [found[name] for name in ids]

    def behavior_cloning(self) -> Path:
        """Stage 1 on the demonstrations that succeeded; returns the policy's folder."""
        # Training pulls in torch: what needs no model starts at once.
        from step_hrl.training.behavior_cloning import run

        solved = [episode for episode in self.load_demonstrations() if episode.success and episode.error is None]
        if not solved:
            raise DataError(str(self.demonstrations_file), "no demonstration succeeded", "look at them with `play`")
        config = self.recipe.behavior_cloning
        inputs = {
            "demonstrations": stamps.digest(*(encode_line(episode) for episode in solved)),
            "backbone": self.recipe.backbone.model_dump(mode="json"),
            "behavior_cloning": config.model_dump(mode="json"),
            "seed": self.recipe.seed,
        }
        stamps.enter_stage(self.policy_folder.parent, inputs, self._console)
        if self.policy_folder.is_dir():
            self._console.print(f"behaviour cloning: {self.policy_folder} is already there", markup=False)
            return self.policy_folder
        train, held_out = _split(solved, config.held_out_fraction)
        if config.distinct:
            train = distinct(train)
        train += renamed([transition for transition in train if transition.imitable], config.renamed, self.recipe.seed)
        return run(
            config,
            self.recipe.backbone,
            train,
            held_out,
            self.policy_folder.parent,
            self.recipe.seed,
        )

    def evaluate(self, split: str, policy: Path | None, *, watcher: Watcher | None = None) -> Summary:
        """Play a split's tasks with a policy (None: the untrained backbone); write episodes and a summary."""
        label = "untrained" if policy is None else policy.parent.name if policy.name == "policy" else policy.name
        folder = self.recipe.folder / "evaluation" / f"{label}-{split}"
        tasks = self._tasks(split, self.recipe.evaluation.per_task)
        facts = self._facts(split)
        inputs = {
            "world": _identity(self.recipe.world),
            "action_limit": self.recipe.world.action_limit,
            "versions": self.world.provenance(),
            "policy": self._policy_digest(policy),
            "generation": self.recipe.generation.model_dump(mode="json"),
            "seed": self.recipe.seed,
        }
        stamps.enter_stage(folder, inputs, self._console)
        file = folder / "episodes.jsonl"
        jobs = [Job(task, self.recipe.seed) for task in tasks]
        with EpisodeWriter(file) as writer:
            left = [job for job in jobs if job.id not in writer.done]
            if left:
                self._play(left, policy, label, writer, facts, len(jobs), watcher)
        ids = {job.id for job in jobs}
        summary = summarize([e for e in read_episodes(file) if e.id in ids], seed=self.recipe.seed)
        write_summary(folder / "summary.json", summary, {**facts, "policy": str(inputs["policy"])})
        return summary

    def stored_episode(self, file: Path, key: str | None) -> Episode:
        """An episode of a file: the first, or the first of a task such as ``boil:14``. Raises DataError."""
        stored = read_episodes(file)
        chosen = next((e for e in stored if key is None or e.task.key == key), None)
        if chosen is None:
            known = [episode.task.key for episode in stored]
            raise DataError(str(file), f"no episode of {key or 'any task'}", did_you_mean(key or "", known))
        return chosen

    def show(self, key: str | None, split: str | None) -> Episode:
        """Have the expert play one task."""
        shown: list[Episode] = []
        with self._pool(DEMONSTRATION_SECONDS, episodes=1) as pool:
            demonstrate(
                [Job(self._task(key, split), self.recipe.seed)],
                pool,
                action_limit=self.recipe.demonstrations.action_limit,
                perturbed=self.recipe.demonstrations.perturbed,
                on_episode=shown.append,
            )
        return shown[0]

    def watch(self, key: str | None, split: str | None, policy: Path, watcher: Watcher) -> None:
        """Play one task with a policy while somebody looks on; nothing is written."""
        self._policy_digest(policy)
        engine = self._engine(policy)
        with self._pool(self.recipe.world.step_timeout_seconds, episodes=1) as pool:
            job = Job(self._task(key, split), self.recipe.seed)
            rollout([job], StepHrlAgent(), engine, pool, concurrent=1, on_episode=lambda _: None, watcher=watcher)

    def _task(self, key: str | None, split: str | None) -> Task:
        tasks = self._tasks(split or self.recipe.evaluation.splits[0], None)
        chosen = next((task for task in tasks if key is None or key in (task.key, task.name)), None)
        if chosen is None:
            raise WorldError(f"task {key!r}", "not in this split", did_you_mean(key or "", [t.key for t in tasks]))
        return chosen

    def _engine(self, policy: Path | None) -> Engine:
        from step_hrl.engines.transformers import TransformersEngine

        return TransformersEngine(self._backbone(policy), self.recipe.generation, self.recipe.seed)

    def _play(
        self,
        jobs: Sequence[Job],
        policy: Path | None,
        label: str,
        writer: EpisodeWriter,
        facts: Mapping[str, str],
        total: int,
        watcher: Watcher | None,
    ) -> None:
        engine = self._engine(policy)
        split = jobs[0].task.split
        with (
            self._pool(self.recipe.world.step_timeout_seconds) as pool,
            Reporter(self._console, f"{label} on {split}", total, start=total - len(jobs)) as reporter,
        ):
            scores: list[float] = []

            def keep(episode: Episode) -> None:
                writer.write(episode)
                scores.append(episode.score)
                reporter.advance(note=f"mean score {100 * sum(scores) / len(scores):.1f}")

            rollout(
                jobs,
                StepHrlAgent(),
                engine,
                pool,
                concurrent=self.recipe.evaluation.concurrent,
                on_episode=keep,
                provenance={**facts, **engine.provenance()},
                watcher=watcher,
            )

    def _backbone(self, policy: Path | None) -> Any:
        from step_hrl.models import backbone

        if policy is not None:
            chosen = self.recipe.backbone.model_copy(update={"source": str(policy), "lora": None})
            return backbone.load(chosen, seed=self.recipe.seed)
        texts = (text for t in self._transitions() for text in (t.state, t.utterance))
        return backbone.load(self.recipe.backbone, texts=texts, seed=self.recipe.seed)

    def _transitions(self) -> list[Transition]:
        return [transition for episode in self.load_demonstrations() for transition in transitions(episode)]

    def _policy_digest(self, policy: Path | None) -> str:
        if policy is None:
            return "untrained:" + stamps.digest(self.recipe.backbone.model_dump_json().encode())
        weights = sorted(policy.glob("*.safetensors"))
        if not weights:
            raise DataError(str(policy), "no policy there (no *.safetensors)", "run `step-hrl train bc` first")
        return f"{policy.name}:" + stamps.digest(*(stamps.digest_file(file).encode() for file in weights))

    def _facts(self, split: str) -> dict[str, str]:
        return {
            "recipe": self.recipe.name,
            "split": split,
            "seed": str(self.recipe.seed),
            "action_limit": str(self.recipe.world.action_limit),
            "step_hrl": version("step-hrl"),
            **self.world.provenance(),
        }

    def _tasks(self, split: str, per_task: int | None) -> list[Task]:
        return self.world.tasks(split, self.recipe.world.tasks, per_task)

    def _demonstration_jobs(self) -> list[Job]:
        """What the expert must show, task by task; see ``demonstrations.per_task``."""
        config, jobs = self.recipe.demonstrations, list[Job]()
        variations: dict[str, list[Task]] = {}
        for task in self._tasks(config.split, config.per_task):
            variations.setdefault(task.name, []).append(task)
        for tasks in variations.values():
            again = config.per_task is not None and config.perturbed > 0
            count = config.per_task if again and config.per_task else len(tasks)
            jobs += [Job(tasks[n % len(tasks)], self.recipe.seed, n // len(tasks)) for n in range(count)]
        return jobs

    def _pool(self, timeout_seconds: float, *, episodes: int | None = None) -> WorkerPool:
        config = self.recipe.world
        return WorkerPool(
            self.world,
            workers=min(config.workers, episodes or config.workers),
            simulators_per_worker=min(config.simulators_per_worker, episodes or config.simulators_per_worker),
            action_limit=config.action_limit,
            step_timeout_seconds=timeout_seconds,
        )


def _identity(world: WorldConfig) -> dict[str, Any]:
    """What decides how a world behaves, not how many of it run."""
    return {"name": world.name, "options": dict(world.options)}


def _split(episodes: Sequence[Episode], fraction: float) -> tuple[list[Transition], list[Transition]]:
    """Training and held-out transitions; whole episodes are held out, spread evenly, at least one of many."""
    every = max(2, round(1 / fraction)) if fraction > 0 else 0
    train: list[Transition] = []
    held_out: list[Transition] = []
    for number, episode in enumerate(episodes):
        (held_out if every and number % every == every - 1 else train).extend(transitions(episode))
    return train, held_out
