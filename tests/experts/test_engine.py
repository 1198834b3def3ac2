"""An expert as an engine: answers from states, noise from the job, scripts, and states without an answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.demonstrating import show

from step_hrl.agents.flat import FlatAgent
from step_hrl.agents.step_hrl import StepHrlAgent
from step_hrl.data.episode_files import encode_line
from step_hrl.engines.base import Engine
from step_hrl.envs.pantry import PantryWorld
from step_hrl.envs.pool import LocalPool
from step_hrl.errors import WorldError
from step_hrl.experts.base import Expert, expert_for
from step_hrl.experts.engine import ExpertEngine, NoisyEngine, Script
from step_hrl.prompts.transcript import Bounds
from step_hrl.rollout import rollout
from step_hrl.types import Episode, Job, Role

WORLD = PantryWorld()
JOBS = [Job(task) for task in WORLD.tasks("train", ["put-two"], per_task=3)]
EXPERT = expert_for("pantry")


def played(engine: Engine, jobs: list[Job] = JOBS, agent: Any = None) -> list[Episode]:
    episodes: list[Episode] = []
    pool = LocalPool(WORLD.open().env(), 40)
    rollout(jobs, agent or StepHrlAgent(), engine, pool, concurrent=1, on_episode=episodes.append)
    return episodes


def test_an_expert_solves_tasks_as_an_engine_and_costs_no_tokens() -> None:
    episodes = played(ExpertEngine(EXPERT))
    assert all(episode.success for episode in episodes)
    assert all(not step.usages and not step.is_noise for episode in episodes for step in episode.steps)
    assert ExpertEngine(EXPERT).provenance() == {"expert": EXPERT.name}


def test_noise_depends_on_the_job_only() -> None:
    engine = NoisyEngine(ExpertEngine(EXPERT), EXPERT, 0.3)
    together, [alone] = played(engine), played(NoisyEngine(ExpertEngine(EXPERT), EXPERT, 0.3), JOBS[1:2])
    assert encode_line(together[1]) == encode_line(alone)
    assert encode_line(played(engine, JOBS[1:2])[0]) == encode_line(alone), "an episode played again has the same noise"
    [other] = played(engine, [replace(JOBS[1], repeat=1)])
    assert [step.action for step in other.steps] != [step.action for step in alone.steps]


def test_noisy_steps_are_marked_and_complete_no_subtask() -> None:
    steps = [step for episode in played(NoisyEngine(ExpertEngine(EXPERT), EXPERT, 0.3)) for step in episode.steps]
    noisy = [step for step in steps if step.is_noise]
    assert 0.1 < len(noisy) / len(steps) < 0.5
    assert not any(step.subtask_done or step.is_valid_action for step in noisy)
    assert all(step.is_valid_action for step in steps if not step.is_noise)


def test_an_episode_ends_if_the_expert_has_no_answer() -> None:
    silent = replace(EXPERT, decide=lambda state: EXPERT.decide(state) if state.local_progress == "None" else None)
    [episode] = played(ExpertEngine(silent), JOBS[:1])
    assert (episode.success, episode.error, episode.ending) == (False, None, "failure")
    assert episode.segments[-1].ended_by == "limit"
    mute: Expert = replace(EXPERT, next_subtask=lambda _: None)
    assert played(ExpertEngine(mute), JOBS[:1])[0].segments == ()


def test_each_episode_follows_the_script_from_its_start() -> None:
    task = WORLD.tasks("train", ["put-two"])[2]
    demonstration = show(WORLD.open().env(), task)
    lines = [
        line
        for segment in demonstration.segments
        for line in (segment.subtask, *(f"{step.action}; {step.subtask_done}" for step in segment.steps))
    ]
    script = Script(EXPERT, {Job(task): lines})
    for _ in range(2):
        [episode] = played(ExpertEngine(EXPERT, script.answer), [Job(task)])
        assert replace(episode, provenance={}) == replace(demonstration, provenance={})
    [cut] = played(ExpertEngine(EXPERT, Script(EXPERT, {Job(task): lines[:4]}).answer), [Job(task)])
    assert len(cut.steps) == 3


def test_an_expert_cannot_answer_from_a_transcript() -> None:
    with pytest.raises(WorldError, match="cannot answer from a transcript; use an agent that reads one step"):
        played(ExpertEngine(EXPERT), JOBS[:1], FlatAgent(Bounds(1000)))


def test_every_role_is_answered_from_its_state() -> None:
    roles = {role for episode in played(ExpertEngine(EXPERT)) for role in roles_of(episode)}
    assert roles == set(Role)


def roles_of(episode: Episode) -> set[Role]:
    has_progress = any(step.next_local_progress is not None for step in episode.steps)
    return {Role.HIGH, Role.LOW, *([Role.PROGRESS] if has_progress else [])}
