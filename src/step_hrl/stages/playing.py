"""A recipe's world at work: its expert demonstrates, its agent plays with a policy; episodes go to a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from step_hrl.agents.base import Watcher
from step_hrl.agents.registry import agent_for
from step_hrl.config import GenerationConfig, Recipe
from step_hrl.data.episode_files import EpisodeWriter, read_episodes
from step_hrl.engines.base import Engine
from step_hrl.engines.person import Person, PersonEngine
from step_hrl.envs.base import World
from step_hrl.envs.pool import WorkerPool
from step_hrl.rollout import rollout
from step_hrl.runs.progress_bar import Reporter
from step_hrl.runs.timing import timed
from step_hrl.stages.demonstrations import demonstrate
from step_hrl.types import Episode, Job, Task, Transition

DEMONSTRATION_SECONDS = 300.0
"""How long one demonstration may take: solving, cleaning and replaying it."""


class Player:
    """Plays a recipe's jobs in worker processes."""

    def __init__(
        self, recipe: Recipe, world: World, console: Console, read: Callable[[], Sequence[Transition]]
    ) -> None:
        """``read`` gives what a backbone from scratch learns its vocabulary from, should an untrained one be played."""
        self._recipe = recipe
        self._world = world
        self._console = console
        self._read = read
        self.agent = agent_for(recipe.agent)

    def demonstrate(self, jobs: Sequence[Job], total: int, writer: EpisodeWriter) -> None:
        """Have the expert show the jobs that are left of all."""
        with (
            self._pool(DEMONSTRATION_SECONDS) as pool,
            Reporter(self._console, "demonstrations", total, start=total - len(jobs)) as reporter,
        ):

            def keep(episode: Episode) -> None:
                writer.write(episode)
                reporter.advance(note=episode.task.key)

            self._show(jobs, pool, keep)

    def show(self, task: Task) -> Episode:
        """Have the expert play one task; nothing is written."""
        shown: list[Episode] = []
        with self._pool(DEMONSTRATION_SECONDS, episodes=1) as pool:
            self._show([Job(task, self._recipe.seed)], pool, shown.append)
        return shown[0]

    def play(
        self,
        jobs: Sequence[Job],
        policy: Path | None,
        label: str,
        file: Path,
        facts: Mapping[str, str],
        generation: GenerationConfig,
        watcher: Watcher | None = None,
    ) -> list[Episode]:
        """Play what a file does not hold yet with a policy (None: an untrained one); all of the jobs' episodes."""
        with EpisodeWriter(file) as writer:
            left = [job for job in jobs if job.id not in writer.done]
            if left:
                with timed(file.parent):
                    self._play(left, len(jobs), policy, label, writer, facts, generation, watcher)
        ids = {job.id for job in jobs}
        return [episode for episode in read_episodes(file) if episode.id in ids]

    def watch(self, task: Task, policy: Path | None, watcher: Watcher, person: Person) -> None:
        """Play one task while somebody looks on; nothing is written.

        The policy speaks for the roles that the person does not take; None where that leaves none.
        """
        engine = PersonEngine(person, self._engine(policy, self._recipe.generation) if policy else None)
        with self._pool(self._recipe.world.step_timeout_seconds, episodes=1) as pool:
            job = Job(task, self._recipe.seed)
            rollout([job], self.agent, engine, pool, concurrent=1, on_episode=lambda _: None, watcher=watcher)

    def _play(
        self,
        jobs: Sequence[Job],
        total: int,
        policy: Path | None,
        label: str,
        writer: EpisodeWriter,
        facts: Mapping[str, str],
        generation: GenerationConfig,
        watcher: Watcher | None,
    ) -> None:
        engine = self._engine(policy, generation)
        with (
            self._pool(self._recipe.world.step_timeout_seconds) as pool,
            Reporter(self._console, label, total, start=total - len(jobs)) as reporter,
        ):
            scores: list[float] = []

            def keep(episode: Episode) -> None:
                writer.write(episode)
                scores.append(episode.score)
                reporter.advance(note=f"mean score {100 * sum(scores) / len(scores):.1f}")

            rollout(
                jobs,
                self.agent,
                engine,
                pool,
                concurrent=self._recipe.evaluation.concurrent,
                on_episode=keep,
                provenance={**facts, **engine.provenance()},
                watcher=watcher,
            )

    def _show(self, jobs: Sequence[Job], pool: WorkerPool, keep: Callable[[Episode], None]) -> None:
        config = self._recipe.demonstrations
        demonstrate(
            jobs,
            pool,
            max_episode_steps=config.max_episode_steps,
            perturbed=config.action_noise,
            renamed=config.renamed,
            on_episode=keep,
        )

    def _engine(self, policy: Path | None, generation: GenerationConfig) -> Engine:
        if self._recipe.api is not None:
            from step_hrl.engines.openai import OpenAIEngine

            return OpenAIEngine(self._recipe.api, generation)
        # It pulls in torch: what needs no model starts at once.
        from step_hrl.engines.transformers import TransformersEngine

        backbone, worlds = self._backbone(policy), self._recipe.world.workers
        return TransformersEngine(backbone, generation, self._recipe.seed, worlds=worlds)

    def _backbone(self, policy: Path | None) -> Any:
        from step_hrl.models import backbone

        if policy is not None:
            chosen = self._recipe.backbone.model_copy(update={"source": str(policy), "lora": None})
            return backbone.load(chosen, seed=self._recipe.seed)
        texts = (text for transition in self._read() for text in (transition.state, transition.utterance))
        return backbone.load(self._recipe.backbone, texts=texts, seed=self._recipe.seed)

    def _pool(self, timeout_seconds: float, *, episodes: int | None = None) -> WorkerPool:
        config = self._recipe.world
        return WorkerPool(
            self._world,
            workers=min(config.workers, episodes or config.workers),
            simulators_per_worker=min(config.simulators_per_worker, episodes or config.simulators_per_worker),
            max_episode_steps=config.max_episode_steps,
            step_timeout_seconds=timeout_seconds,
        )
