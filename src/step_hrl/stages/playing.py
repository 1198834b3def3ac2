"""Episodes played in worker processes and written to a file as they end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from step_hrl.agents.base import Watcher
from step_hrl.agents.registry import replies_for
from step_hrl.config import BackboneConfig, GenerationConfig
from step_hrl.data.episode_files import EpisodeWriter, read_episodes
from step_hrl.engines.base import Engine
from step_hrl.engines.person import Person, person_engine
from step_hrl.envs.pool import WorkerPool
from step_hrl.errors import DataError, WorldError, did_you_mean
from step_hrl.rollout import rollout
from step_hrl.runs.progress_bar import ProgressBar
from step_hrl.runs.timing import timed
from step_hrl.stages.base import RunContext, select
from step_hrl.types import Episode, Job, Task


def play_jobs(
    context: RunContext,
    jobs: Sequence[Job],
    make_engine: Callable[[], Engine],
    *,
    file: Path,
    label: str,
    provenance: Mapping[str, str],
    watcher: Watcher | None = None,
) -> list[Episode]:
    """Play the jobs that a file does not hold yet; return the episodes of all, in the order of the jobs.

    Args:
        context: Of the run.
        jobs: What to play.
        make_engine: Makes the engine; called only where something is left to play.
        file: The episode file.
        label: What the progress line says.
        provenance: What each episode says beside agent and engine.
        watcher: Receives the episodes' events.
    """
    with EpisodeWriter(file) as writer:
        left = [job for job in jobs if job.id not in writer.done]
        if left:
            with (
                timed(file.parent),
                pool_for(context) as pool,
                ProgressBar(context.console, label, len(jobs), start=len(jobs) - len(left)) as progress_bar,
            ):
                scores: list[float] = []

                def keep(episode: Episode) -> None:
                    writer.write(episode)
                    scores.append(episode.score)
                    progress_bar.advance(note=f"mean score {100 * sum(scores) / len(scores):.1f}")

                engine = make_engine()
                rollout(
                    left,
                    context.agent,
                    engine,
                    pool,
                    concurrent=context.recipe.evaluation.concurrent,
                    on_episode=keep,
                    provenance={**provenance, **engine.provenance()},
                    watcher=watcher,
                )
    return select(read_episodes(file), jobs)[0]


def play_one(context: RunContext, task: Task, policy: Path | None, watcher: Watcher, person: Person) -> None:
    """Play one task while a watcher looks on; nothing is written.

    The policy answers for the roles that the person does not take; it need not exist where that leaves none.
    """
    engine = None
    if not replies_for(context.recipe.agent).keys() <= person.replies.keys():
        context.policy_digest(policy)  # says that the policy is missing before anything is loaded
        engine = policy_engine(context, policy, context.recipe.generation)
    with _pool(context, 1, 1, context.recipe.world.max_episode_steps) as pool:
        job = Job(task, context.recipe.seed)
        shared = person_engine(person, engine)
        rollout([job], context.agent, shared, pool, concurrent=1, on_episode=lambda _: None, watcher=watcher)


def chosen_task(context: RunContext, key: str | None, split: str | None) -> Task:
    """The task of a key such as ``boil:14`` or ``boil``; the first of the split where there is none.

    Raises :class:`~step_hrl.errors.WorldError` for a task that is not in the split (the recipe's first by default).
    """
    tasks = context.tasks(split or context.recipe.evaluation.splits[0])
    chosen = next((task for task in tasks if key is None or key in (task.key, task.name)), None)
    if chosen is None:
        raise WorldError(f"task {key!r}", "not in this split", did_you_mean(key or "", [task.key for task in tasks]))
    return chosen


def stored_episode(file: Path, key: str | None) -> Episode:
    """An episode of a file: the first, or the first of a task such as ``boil:14``. Raises DataError."""
    stored = read_episodes(file)
    chosen = next((episode for episode in stored if key is None or episode.task.key == key), None)
    if chosen is None:
        known = [episode.task.key for episode in stored]
        raise DataError(str(file), f"no episode of {key or 'any task'}", did_you_mean(key or "", known))
    return chosen


def pool_for(context: RunContext) -> WorkerPool:
    """Worker processes with the recipe's environments."""
    config = context.recipe.world
    return _pool(context, config.workers, config.simulators_per_worker, config.max_episode_steps)


def demonstration_pool(context: RunContext, episodes: int | None = None) -> WorkerPool:
    """Worker processes for demonstrations, no more than so many ``episodes`` need.

    Each holds one environment: the simulators of a JVM share a random generator, so that what grows in one would
    depend on what the others do meanwhile. Sixteen take a third less time, but change 5 of 96 demonstrations.
    """
    workers = context.recipe.world.workers
    steps = context.recipe.demonstrations.max_episode_steps
    return _pool(context, min(workers, episodes or workers), 1, steps)


def _pool(context: RunContext, workers: int, simulators_per_worker: int, max_episode_steps: int) -> WorkerPool:
    return WorkerPool(
        context.world,
        workers=workers,
        simulators_per_worker=simulators_per_worker,
        max_episode_steps=max_episode_steps,
        step_timeout_seconds=context.recipe.world.step_timeout_seconds,
    )


def policy_engine(
    context: RunContext, policy: Path | None, generation: GenerationConfig, texts: Iterable[str] | None = None
) -> Engine:
    """The engine of a policy, or of the recipe's served model.

    ``policy`` None is the untrained backbone; ``texts`` is what a tokenizer made from scratch is trained on then.
    """
    recipe = context.recipe
    if recipe.api is not None:
        from step_hrl.engines.openai import OpenAIEngine

        return OpenAIEngine(recipe.api, generation)
    # Imports torch: what needs no model starts at once.
    from step_hrl.engines.transformers import TransformersEngine
    from step_hrl.models import backbone

    chosen: BackboneConfig = recipe.backbone
    if policy is not None:
        chosen = chosen.model_copy(update={"source": str(policy), "lora": None})
    model: Any = backbone.load(chosen, texts=texts, seed=recipe.seed)
    return TransformersEngine(model, generation, recipe.seed)
