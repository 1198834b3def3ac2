"""What a stage is, and what all stages of a run share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, TypeVar

from rich.console import Console

from step_hrl.agents.base import Agent
from step_hrl.config import Recipe
from step_hrl.envs.base import World
from step_hrl.errors import DataError
from step_hrl.runs.layout import RunLayout
from step_hrl.runs.manifest import digest, digest_file
from step_hrl.types import Episode, Job, Task

Output = TypeVar("Output", covariant=True)


class Stage(Protocol[Output]):
    """One step of a recipe. It is done again where its inputs differ from those its folder was made from."""

    @property
    def name(self) -> str:
        """The stage's name, one of :data:`~step_hrl.runs.layout.STAGES`."""
        ...

    @property
    def folder(self) -> Path:
        """Where it keeps its manifest and what it makes."""
        ...

    @property
    def inputs(self) -> Mapping[str, Any]:
        """Everything that decides its output, as plain JSON values: settings, and digests of data and weights."""
        ...

    def run(self) -> Output:
        """Do what is not done yet and return the output. The folder has been entered with these inputs."""
        ...


@dataclass(frozen=True)
class RunContext:
    """What the stages of a run share: the recipe, its world and agent, the run's folders and the console."""

    recipe: Recipe
    layout: RunLayout
    world: World
    agent: Agent
    console: Console

    def tasks(self, split: str, per_task: int | None = None) -> list[Task]:
        """The recipe's tasks of a split. Raises :class:`~step_hrl.errors.WorldError` for an unknown split or task."""
        return self.world.tasks(split, self.recipe.world.tasks, per_task)

    def jobs(self, split: str, per_task: int | None = None) -> list[Job]:
        """One episode of each task."""
        return [Job(task, self.recipe.seed) for task in self.tasks(split, per_task)]

    def provenance(self, split: str) -> dict[str, str]:
        """What an episode played on a split must say of recipe and world."""
        return {
            "recipe": self.recipe.name,
            "split": split,
            "seed": str(self.recipe.seed),
            "max_episode_steps": str(self.recipe.world.max_episode_steps),
            "step_hrl": version("step-hrl"),
            **self.world.provenance(split),
        }

    @property
    def world_inputs(self) -> dict[str, Any]:
        """What decides how the world behaves, not how many of its environments run."""
        return {"name": self.recipe.world.name, "options": dict(self.recipe.world.options)}

    def playing_inputs(self, policy: Path | None, split: str) -> dict[str, Any]:
        """What decides how a policy plays, except for sampling."""
        return {
            "world": self.world_inputs,
            "max_episode_steps": self.recipe.world.max_episode_steps,
            "versions": self.world.provenance(split),
            "policy": self.policy_digest(policy),
            "agent": self.recipe.agent.model_dump(mode="json"),
            "generation": self.recipe.generation.model_dump(mode="json"),
            "seed": self.recipe.seed,
        }

    def policy_digest(self, policy: Path | None) -> str:
        """A name that changes with the policy's weights (None: the untrained backbone). Raises DataError."""
        if self.recipe.api is not None:
            return f"api:{self.recipe.api.model} at {self.recipe.api.base_url}"
        if policy is None:
            return "untrained:" + digest(self.recipe.backbone.model_dump_json().encode())
        weights = sorted(policy.glob("*.safetensors"))
        if not weights:
            raise DataError(str(policy), "no policy there (no *.safetensors)", "run `step-hrl train bc` first")
        return f"{policy.name}:" + digest(*(digest_file(file).encode() for file in weights))


def select(stored: Iterable[Episode], jobs: Sequence[Job]) -> tuple[list[Episode], list[str]]:
    """The jobs' episodes in the jobs' order, whatever else is stored, and the ids of those that are missing."""
    by_id = {episode.id: episode for episode in stored}
    found = [by_id[job.id] for job in jobs if job.id in by_id]
    return found, [job.id for job in jobs if job.id not in by_id]
