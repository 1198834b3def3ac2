"""The Python interface: load a trained agent and play episodes in this process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from step_hrl.agents.base import Agent, Watcher
from step_hrl.agents.registry import agent_for
from step_hrl.engines.base import Engine
from step_hrl.envs.base import TextEnv
from step_hrl.envs.pool import LocalPool
from step_hrl.errors import DataError
from step_hrl.experts.base import expert_for
from step_hrl.experts.engine import ExpertEngine, NoisyEngine
from step_hrl.recipes import load_recipe
from step_hrl.rollout import rollout
from step_hrl.runs.layout import RECIPE_FILE
from step_hrl.types import Episode, Job, Task

__all__ = ["LoadedAgent", "load_agent", "load_expert", "load_recipe", "play"]


@dataclass(frozen=True)
class LoadedAgent:
    """An agent and the engine that answers its asks."""

    agent: Agent
    engine: Engine


def load_agent(policy: str | Path) -> LoadedAgent:
    """Load a trained policy with the agent it was trained for.

    Args:
        policy: A policy's folder as training leaves it, with its ``recipe.yaml``.

    Returns:
        What :func:`play` takes.

    Raises:
        DataError: The folder holds no recipe.
        ModelError: The weights cannot be loaded.
    """
    folder = Path(policy)
    if not (folder / RECIPE_FILE).is_file():
        remedy = "give the folder `policy` of a training stage, such as runs/quickstart/behavior_cloning/policy"
        raise DataError(str(folder), f"no policy there (no {RECIPE_FILE})", remedy)
    recipe = load_recipe(folder / RECIPE_FILE)
    # Imports torch: the expert below needs none.
    from step_hrl.engines.transformers import TransformersEngine
    from step_hrl.models import backbone

    config = recipe.backbone.model_copy(update={"source": str(folder), "lora": None})
    model: Any = backbone.load(config, seed=recipe.seed)
    return LoadedAgent(agent_for(recipe.agent), TransformersEngine(model, recipe.generation, recipe.seed))


def load_expert(world: str, *, action_noise: float = 0.0) -> LoadedAgent:
    """The rule-based expert of a world as an agent to play.

    Args:
        world: Such as ``pantry``.
        action_noise: Share of its actions that are replaced by mistakes; which ones follows from task and seed.

    Raises:
        WorldError: The world has no expert.

    >>> from step_hrl.envs.pantry import PantryWorld
    >>> world = PantryWorld()
    >>> [task] = world.tasks("unseen", ["put-one"], per_task=1)
    >>> play(load_expert("pantry"), world.open().env(), task).score
    1.0
    """
    from step_hrl.agents.step_hrl import StepHrlAgent

    expert = expert_for(world)
    engine = ExpertEngine(expert)
    return LoadedAgent(
        StepHrlAgent(complete_on_invalid_action=True),
        NoisyEngine(engine, expert, action_noise) if action_noise else engine,
    )


def play(
    agent: LoadedAgent,
    env: TextEnv,
    task: Task,
    *,
    seed: int = 0,
    max_episode_steps: int = 50,
    watcher: Watcher | None = None,
) -> Episode:
    """Play one episode in this process.

    Args:
        agent: From :func:`load_agent`.
        env: An environment of the task's world, such as ``world_for(...).open().env()``, or any object with the
            methods of :class:`~step_hrl.envs.base.TextEnv`.
        task: What to play.
        seed: Of environment and sampling.
        max_episode_steps: Number of actions after which the episode is truncated.
        watcher: Receives the episode's events.

    Returns:
        The whole episode: segments, steps, tokens and score.

    Raises:
        WorldError: The task does not exist.
    """
    played: list[Episode] = []
    rollout(
        [Job(task, seed)],
        agent.agent,
        agent.engine,
        LocalPool(env, max_episode_steps),
        concurrent=1,
        on_episode=played.append,
        provenance=agent.engine.provenance(),
        watcher=watcher,
    )
    return played[0]
