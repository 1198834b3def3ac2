"""A person takes some roles and reads the policy's prompts; the engine receives only the other roles' asks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import pairwise, repeat

import pytest
from tests.scripted import CountingWorld, ScriptedEngine, count_well

from step_hrl.agents.registry import agent_for, replies_for
from step_hrl.config import AgentConfig, FlatConfig, NoHierarchyConfig, ReactConfig, StepHrlConfig
from step_hrl.engines.base import Engine
from step_hrl.engines.person import Person, person_engine
from step_hrl.envs.pool import WorkerPool
from step_hrl.rollout import Job, rollout
from step_hrl.types import Ask, Episode, Role, Usage

CONFIG = StepHrlConfig()


class Typist:
    """Types the lines of a script and records the texts shown."""

    def __init__(self, lines: Iterable[str] = ()) -> None:
        self.lines = iter(lines)
        self.shown: list[str] = []

    def takes(self, *roles: Role, config: AgentConfig = CONFIG) -> Person:
        replies = replies_for(config)
        return Person({role: replies[role] for role in roles}, self.shown.append, self.read)

    def read(self) -> str:
        for line in self.lines:
            return line
        raise EOFError


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    with WorkerPool(
        CountingWorld(), workers=1, simulators_per_worker=3, max_episode_steps=12, step_timeout_seconds=5.0
    ) as workers:
        yield workers


def play(pool: WorkerPool, engine: Engine, count: int = 1, config: AgentConfig = CONFIG) -> list[Episode]:
    episodes: list[Episode] = []
    jobs = [Job(task) for task in CountingWorld().tasks("train", per_task=count)]
    rollout(jobs, agent_for(config), engine, pool, concurrent=3, on_episode=episodes.append)
    return episodes


def read_by(engine: ScriptedEngine, *roles: Role) -> list[str]:
    return [ask.prompt for batch in engine.batches for ask in batch if ask.role in roles]


@pytest.mark.parametrize("role", Role)
def test_a_person_reads_the_prompts_of_the_policy(pool: WorkerPool, role: Role) -> None:
    alone = ScriptedEngine(count_well)
    [played] = play(pool, person_engine(Typist().takes(), alone))
    replies = [count_well(ask) for batch in alone.batches for ask in batch if ask.role is role]

    person, rest = Typist(replies), ScriptedEngine(count_well)
    [episode] = play(pool, person_engine(person.takes(role), rest))
    assert person.shown == read_by(alone, role)
    assert not list(person.lines)
    assert read_by(rest, *Role) == read_by(alone, *(other for other in Role if other is not role))
    assert [s.subtask for s in episode.segments] == [s.subtask for s in played.segments]
    assert episode.usages.get(role, Usage()) == Usage(), "a person costs no tokens"
    assert {r: u for r, u in episode.usages.items() if r is not role} == {
        r: u for r, u in played.usages.items() if r is not role
    }


def test_replies_of_concurrent_episodes_are_not_mixed(pool: WorkerPool) -> None:
    def count_for(ask: Ask) -> str:
        return ask.prompt.partition("Task: ")[2].splitlines()[0] if ask.role is Role.HIGH else "counted"

    engine = ScriptedEngine(count_for)
    episodes = play(pool, person_engine(Typist(repeat("count")).takes(Role.LOW), engine), count=6)
    assert {e.task.instruction for e in episodes} == {f"Count to five ({number})." for number in range(6)}
    assert {(s.subtask == e.task.instruction, e.success) for e in episodes for s in e.segments} == {(True, True)}
    assert not read_by(engine, Role.LOW)


@pytest.mark.parametrize("config", [CONFIG, NoHierarchyConfig(), FlatConfig(), ReactConfig()])
def test_a_person_in_all_roles_needs_no_engine(pool: WorkerPool, config: AgentConfig) -> None:
    person = Typist(repeat("count")).takes(*replies_for(config), config=config)
    [episode] = play(pool, person_engine(person, None), config=config)
    assert episode.success
    assert all(usage == Usage() for usage in episode.usages.values())


def test_an_action_without_true_completes_no_subtask(pool: WorkerPool) -> None:
    person = Typist(["count", "count; true", "count", "count", "count"])
    [episode] = play(pool, person_engine(person.takes(Role.LOW), ScriptedEngine(count_well)))
    assert [(s.duration, s.ended_by) for s in episode.segments] == [(2, "policy"), (3, "episode")]
    assert [step.subtask_done for step in episode.steps] == [False, True, False, False, False]


def test_an_unreadable_reply_is_asked_again_with_a_hint(pool: WorkerPool) -> None:
    person = Typist(["", "count; maybe", "; True", "count", *["count"] * 4])
    [episode] = play(pool, person_engine(person.takes(Role.LOW), ScriptedEngine(count_well)))
    assert episode.success
    assert all(step.unreadable is None for step in episode.steps)
    hints = person.shown[1:4]
    assert hints[0].startswith("empty reply; type an action, with `; True` after it")
    assert all("expected `action; True` or `action; False`; type an action" in hint for hint in hints[1:])


def test_the_end_of_input_ends_the_rollout(pool: WorkerPool) -> None:
    person, engine = Typist(["count"]), ScriptedEngine(count_well)
    with pytest.raises(EOFError):
        play(pool, person_engine(person.takes(Role.LOW), engine))
    assert len(person.shown) == 2
    assert len(read_by(engine, Role.PROGRESS)) == 1


def test_before_step_is_called_before_each_action_of_the_engine(pool: WorkerPool) -> None:
    events: list[str] = []

    def answer(ask: Ask) -> str:
        events.append(ask.role.value)
        return count_well(ask)

    person = replace(Typist().takes(), before_step=lambda: events.append("let"))
    play(pool, person_engine(person, ScriptedEngine(answer)))
    assert events.count("let") == events.count("low") == 5
    assert {before for before, after in pairwise(events) if after == "low"} == {"let"}


def test_before_step_is_not_called_if_the_person_acts(pool: WorkerPool) -> None:
    def never() -> None:
        raise AssertionError("before_step was called although the person acts")

    person = replace(Typist(["count"] * 5).takes(Role.LOW), before_step=never)
    [episode] = play(pool, person_engine(person, ScriptedEngine(count_well)))
    assert episode.success


def test_a_role_without_an_engine_is_named(pool: WorkerPool) -> None:
    with pytest.raises(TypeError, match="nobody answers the role high"):
        play(pool, person_engine(Typist().takes(Role.LOW), None))


@pytest.mark.parametrize(("engine", "facts"), [(None, {}), (ScriptedEngine(count_well), {"engine": "scripted"})])
def test_provenance_names_the_engine_and_the_roles_of_the_person(
    engine: ScriptedEngine | None, facts: dict[str, str]
) -> None:
    person = Typist().takes(Role.LOW, Role.HIGH)
    assert person_engine(person, engine).provenance() == {**facts, "person": "high, low"}
