"""An expert of three pure functions, one a role, asked in turn as an agent asks its policy."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from step_hrl.envs.base import Info, TextEnv, TimeLimit
from step_hrl.experts.base import Demonstration
from step_hrl.prompts import high_level, local_progress, low_level
from step_hrl.prompts.low_level import Decision
from step_hrl.types import NOTHING, EndedBy, Episode, Observation, Segment, Step, Task, episode_id


@dataclass(frozen=True)
class RoleExpert:
    """What an expert says in each role. Whatever it says follows from what that role reads, so it can be learnt.

    ``mistake`` is an action that does not help, for demonstrations of the way back. The first word of a subtask is
    its kind.
    """

    name: str
    """Name and version, as provenance carries it."""
    next_subtask: Callable[[high_level.State], str]
    decide: Callable[[low_level.State], Decision]
    update: Callable[[local_progress.State], str]
    mistake: Callable[[low_level.State, random.Random], str]

    def demonstrate(
        self,
        env: TextEnv,
        task: Task,
        *,
        max_episode_steps: int,
        seed: int = 0,
        perturbed: float = 0.0,
        repeat: int = 0,
    ) -> Demonstration:
        """Solve a task; see :class:`~step_hrl.experts.base.Expert`."""
        limited = TimeLimit(env, max_episode_steps)
        mistakes = random.Random(f"{task.key} {seed} {repeat}")
        observation, info = limited.reset(task, seed=seed)
        task = replace(task, instruction=info["instruction"])
        segments: list[Segment] = []
        completed: tuple[str, ...] = ()
        final_progress = NOTHING
        over = False
        while not over:
            subtask = self.next_subtask(high_level.State(task.instruction, completed, final_progress, observation))
            steps, ended_by, info = self._pursue(limited, subtask, observation, mistakes, perturbed)
            segments.append(Segment(subtask, completed, final_progress, observation, steps, ended_by))
            completed, final_progress = (*completed, subtask), segments[-1].final_progress
            observation, over = steps[-1].next_observation, steps[-1].terminated or steps[-1].truncated
        kinds = tuple(segment.subtask.split(" ", 1)[0] for segment in segments)
        episode = Episode(
            id=episode_id(task, seed),
            task=task,
            segments=tuple(segments),
            score=info["score"],
            success=info["success"],
            seed=seed,
            provenance={"agent": "expert", "expert": self.name, "subtask_kinds": ",".join(kinds)},
        )
        return Demonstration(episode, kinds, raw_actions=len(episode.steps), raw_score=episode.score)

    def _pursue(
        self, env: TimeLimit, subtask: str, observation: Observation, mistakes: random.Random, perturbed: float
    ) -> tuple[tuple[Step, ...], EndedBy, Info]:
        steps: list[Step] = []
        progress = NOTHING
        while True:
            state = low_level.State(subtask, progress, observation)
            action, subtask_done = self.decide(state)
            slipped = mistakes.random() < perturbed
            if slipped:
                action, subtask_done = self.mistake(state, mistakes), False
            after, reward, terminated, truncated, info = env.step(action)
            over = terminated or truncated
            updated = None if over else self.update(local_progress.State(subtask, progress, action, after))
            is_valid_action = bool(info["is_valid_action"])
            steps.append(
                Step(
                    observation=observation,
                    local_progress=progress,
                    action=action,
                    subtask_done=subtask_done,
                    reward=reward,
                    next_observation=after,
                    next_local_progress=updated,
                    is_valid_action=is_valid_action,
                    terminated=terminated,
                    truncated=truncated,
                    is_noise=slipped,
                )
            )
            if subtask_done:
                return tuple(steps), "policy", info
            if over:
                return tuple(steps), "episode" if terminated else "limit", info
            observation, progress = after, updated or progress
