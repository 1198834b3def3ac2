"""Demonstrations: episodes of the paper's agent with the world's expert as its engine."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from step_hrl.agents.step_hrl import StepHrlAgent
from step_hrl.config import DemonstrationsConfig
from step_hrl.data.episode_files import EpisodeWriter, read_episodes
from step_hrl.engines.base import Engine
from step_hrl.envs.pool import EnvPool
from step_hrl.errors import DataError, WorkerLost
from step_hrl.experts import audit
from step_hrl.experts.base import Expert, Solutions, expert_for
from step_hrl.experts.engine import ExpertEngine, NoisyEngine, Script
from step_hrl.rollout import rollout
from step_hrl.runs.files import write_atomically
from step_hrl.runs.progress_bar import ProgressBar
from step_hrl.stages.base import RunContext, select
from step_hrl.stages.playing import demonstration_pool
from step_hrl.types import Episode, Job, Task

# A subtask of a demonstration ends when the expert says so, as in the paper, whatever the environment answers.
_AGENT = StepHrlAgent(complete_on_invalid_action=True)


class Demonstrations:
    """The expert's episodes, in one file."""

    name = "demonstrations"

    def __init__(self, context: RunContext) -> None:
        """Raises :class:`~step_hrl.errors.WorldError` for an unknown split or task."""
        self._context = context
        config = context.recipe.demonstrations
        self._training = demonstration_jobs(context.tasks(config.split, config.per_task), config, context.recipe.seed)
        apart = config.validation_split
        self._validation = [] if apart is None else context.jobs(apart, config.validation_per_task)

    @property
    def folder(self) -> Path:
        """The run's own, or one that several runs share."""
        return self.file.parent

    @property
    def file(self) -> Path:
        """The episode file."""
        return self._context.layout.demonstrations

    @property
    def inputs(self) -> Mapping[str, Any]:
        """World, versions, longest episode, noise and seed; not how many episodes are wanted."""
        config = self._context.recipe.demonstrations
        return {
            "world": self._context.world_inputs,
            "versions": self._context.world.provenance(config.split),
            "max_episode_steps": config.max_episode_steps,
            "action_noise": config.action_noise,
            "seed": self._context.recipe.seed,
        }

    @property
    def jobs(self) -> list[Job]:
        """All episodes to demonstrate."""
        return [*self._training, *self._validation]

    def run(self) -> list[Episode]:
        """Demonstrate every job that the file does not hold yet; print and write an audit of the data."""
        with EpisodeWriter(self.file) as writer:
            left = [job for job in self.jobs if job.id not in writer.done]
            if left:
                self._demonstrate(left, writer)
        episodes = self._load(self.jobs)
        audits = audit.audit(episodes)
        plain = json.dumps(audit.as_plain(audits), indent=1)
        write_atomically(self.file.with_name("audit.json"), plain + "\n")
        self._context.console.print(audit.table(audits))
        return episodes

    def load(self) -> list[Episode]:
        """The demonstrations to train on, in the order of their jobs. Raises DataError where some are missing."""
        return self._load(self._training)

    def load_validation(self) -> list[Episode]:
        """The demonstrations of the validation split. Raises DataError where some are missing."""
        return self._load(self._validation)

    def _load(self, jobs: Sequence[Job]) -> list[Episode]:
        found, missing = select(read_episodes(self.file), jobs)
        if missing:
            got = f"{len(missing)} of {len(jobs)} demonstrations are missing, such as {missing[0]}"
            raise DataError(str(self.file), got, "run `step-hrl demos` with this recipe")
        return found

    def _demonstrate(self, jobs: Sequence[Job], writer: EpisodeWriter) -> None:
        config, total = self._context.recipe.demonstrations, len(self.jobs)
        with (
            demonstration_pool(self._context) as pool,
            ProgressBar(self._context.console, self.name, total, start=total - len(jobs)) as progress_bar,
        ):

            def keep(episode: Episode) -> None:
                writer.write(episode)
                progress_bar.advance(note=episode.task.key)

            demonstrate(jobs, expert_for(self._context.world.name), pool, keep, action_noise=config.action_noise)


def demonstration_jobs(tasks: Sequence[Task], config: DemonstrationsConfig, seed: int) -> list[Job]:
    """The episodes to demonstrate, task by task; see ``demonstrations.per_task``."""
    variations: dict[str, list[Task]] = {}
    for task in tasks:
        variations.setdefault(task.name, []).append(task)
    jobs: list[Job] = []
    for same in variations.values():
        count = config.per_task if config.per_task and config.action_noise > 0 else len(same)
        jobs += [Job(same[n % len(same)], seed, n // len(same)) for n in range(count)]
    return jobs


def show_expert(context: RunContext, task: Task) -> Episode:
    """The expert's episode of one task, without noise; nothing is written."""
    shown: list[Episode] = []
    with demonstration_pool(context, episodes=1) as pool:
        demonstrate([Job(task, context.recipe.seed)], expert_for(context.world.name), pool, shown.append)
    return shown[0]


def demonstrate(
    jobs: Sequence[Job],
    expert: Expert,
    pool: EnvPool,
    keep: Callable[[Episode], None],
    *,
    action_noise: float = 0.0,
) -> None:
    """Have an expert play every job; pass each episode to ``keep`` as soon as it is final.

    Where the world has solutions of its own, an episode that did not succeed is played again without noise, then
    from the solution, cleaned less and less, and the best of all is kept; ties go to the rules, then to the cleanest.
    Provenance ``path`` says which: ``noise``, ``rules``, ``renamed``, ``pruned`` or ``raw``.

    Raises what :func:`~step_hrl.rollout.rollout` raises.
    """

    def is_final(episode: Episode) -> bool:
        return expert.solutions is None or episode.success or episode.error is not None

    left = jobs
    if action_noise > 0:
        noisy = NoisyEngine(ExpertEngine(expert), expert, action_noise)
        left = list(_play(left, noisy, pool, "noise", keep, is_final))
    failed = _play(left, ExpertEngine(expert), pool, "rules", keep, is_final)
    if expert.solutions is not None:
        for episode in _best_of_solutions(failed, expert, expert.solutions, pool):
            keep(episode)


def _play(
    jobs: Sequence[Job],
    engine: Engine,
    pool: EnvPool,
    path: str,
    keep: Callable[[Episode], None],
    is_final: Callable[[Episode], bool],
) -> dict[Job, Episode]:
    """Play jobs with an engine; pass final episodes to ``keep`` and return the others by job."""
    by_id = {job.id: job for job in jobs}
    others: dict[Job, Episode] = {}

    def sort(episode: Episode) -> None:
        if is_final(episode):
            keep(episode)
        else:
            others[by_id[episode.id]] = episode

    rollout(
        jobs,
        _AGENT,
        engine,
        pool,
        concurrent=len(jobs),
        on_episode=sort,
        provenance={"agent": "expert", "path": path, **engine.provenance()},
    )
    return others


def _best_of_solutions(
    failed: Mapping[Job, Episode], expert: Expert, solutions: Solutions, pool: EnvPool
) -> list[Episode]:
    """For each failed job the best of the rules' episode and the replays of the world's own solution."""

    def replay(paths: Mapping[Job, Sequence[str]], path: str) -> dict[Job, Episode]:
        script = Script(expert, {job: solutions.script(actions) for job, actions in paths.items()})
        return _play(list(paths), ExpertEngine(expert, script.answer), pool, path, _nothing, lambda _: False)

    best = dict(failed)
    actions: dict[Job, list[str]] = {}
    for job in failed:
        with suppress(WorkerLost):  # the rules' episode is kept then
            actions[job] = pool.run(solutions.actions, job.task)
    raw = replay(actions, "raw")
    cleaned = {job: solutions.cleaned(episode) for job, episode in raw.items()}
    for path in dict.fromkeys(path for paths in cleaned.values() for path in paths):
        wanted = {job: paths[path] for job, paths in cleaned.items() if best[job].score < raw[job].score}
        best |= _better(replay(wanted, path), best)
    best |= _better(raw, best)
    return list(best.values())


def _better(candidates: Mapping[Job, Episode], best: Mapping[Job, Episode]) -> dict[Job, Episode]:
    return {job: episode for job, episode in candidates.items() if episode.score > best[job].score}


def _nothing(_: Episode) -> None:
    """Keeps no episode."""
