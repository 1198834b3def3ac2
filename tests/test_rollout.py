"""The interaction loop with scripted replies: what is recorded, batched, retried and bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

import pytest

from step_hrl.agents.step_hrl import StepHrlAgent
from step_hrl.data.transitions import transitions
from step_hrl.engines.base import Exchange
from step_hrl.envs.pool import WorkerPool
from step_hrl.rollout import Job, rollout
from step_hrl.types import Ask, Episode, Role, Utterance
from tests.scripted import CountingWorld, ScriptedEngine, count_well

LIMIT = 12


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    with WorkerPool(
        CountingWorld(), workers=2, simulators_per_worker=4, max_episode_steps=LIMIT, step_timeout_seconds=2.0
    ) as workers:
        yield workers


def play(
    pool: WorkerPool, answer: Callable[[Ask], str], count: int = 1, agent: StepHrlAgent | None = None
) -> tuple[list[Episode], ScriptedEngine]:
    engine, episodes = ScriptedEngine(answer), list[Episode]()
    jobs = [Job(task) for task in CountingWorld().tasks("train", per_task=count)]
    rollout(jobs, agent or StepHrlAgent(), engine, pool, concurrent=8, on_episode=episodes.append)
    return episodes, engine


def test_an_episode_is_recorded_as_it_was_played(pool: WorkerPool) -> None:
    [episode], _ = play(pool, count_well)
    assert [(s.subtask, s.duration, s.ended_by) for s in episode.segments] == [
        ("count twice", 2, "policy"),
        ("count twice", 2, "policy"),
        ("count twice", 1, "episode"),
    ]
    assert episode.task.instruction == "Count to five (0)."
    assert (episode.score, episode.success, episode.error) == (1.0, True, None)
    assert episode.total_reward == pytest.approx(1.0)
    assert [step.next_local_progress for step in episode.steps] == ["counted"] * 4 + [None]
    assert episode.provenance["actions"] == "5"


def test_prompts_at_acting_equal_prompts_at_training(pool: WorkerPool) -> None:
    episodes, engine = play(pool, count_well, count=3)
    asked = sorted((ask.role.value, ask.prompt) for batch in engine.batches for ask in batch)
    trained = sorted((t.role.value, t.state) for episode in episodes for t in transitions(episode))
    assert asked == trained


def test_tokens_are_summed_by_role(pool: WorkerPool) -> None:
    [episode], engine = play(pool, count_well)
    for role in Role:
        asked = sum(len(ask.prompt) for batch in engine.batches for ask in batch if ask.role is role)
        assert episode.usages[role].prompt_tokens == asked


def test_many_episodes_share_batches_of_mixed_roles(pool: WorkerPool) -> None:
    episodes, engine = play(pool, count_well, count=20)
    assert {episode.task.variation for episode in episodes} == set(range(20))
    assert max(len(batch) for batch in engine.batches) > 4
    decisions = sum(len(batch) for batch in engine.batches)
    assert decisions / len(engine.batches) > 2


def test_unreadable_actions_are_not_executed_and_count_as_steps(pool: WorkerPool) -> None:
    def unreadable(ask: Ask) -> str:
        return "hm" if ask.role is Role.LOW else count_well(ask)

    [episode], _ = play(pool, unreadable)
    assert len(episode.steps) == LIMIT
    assert {(step.action, step.is_valid_action, step.unreadable) for step in episode.steps} == {("", False, "hm")}
    assert episode.steps[-1].truncated
    assert episode.score == 0.0
    assert episode.segments[-1].ended_by == "limit"


def test_a_subtask_does_not_end_with_an_invalid_action(pool: WorkerPool) -> None:
    def claim_done(ask: Ask) -> str:
        return "jump; True" if ask.role is Role.LOW else count_well(ask)

    [episode], _ = play(pool, claim_done)
    assert [(s.duration, s.ended_by) for s in episode.segments] == [(LIMIT, "limit")]
    assert all(step.subtask_done for step in episode.steps)
    low = [t for t in transitions(episode) if t.role is Role.LOW]
    assert [(t.utterance, t.reward, t.terminated) for t in low] == [("jump; True", -1.0, False)] * LIMIT
    assert [t.next_state for t in low[:-1]] == [t.state for t in low[1:]]

    [trusting], _ = play(pool, claim_done, agent=StepHrlAgent(complete_on_invalid_action=True))
    assert [(s.duration, s.ended_by) for s in trusting.segments] == [(1, "policy")] * LIMIT
    low = [t for t in transitions(trusting) if t.role is Role.LOW]
    assert [(t.reward, t.terminated) for t in low] == [(-1.0, True)] * LIMIT


def test_is_repeat_marks_prompts_that_the_episode_had_before(pool: WorkerPool) -> None:
    def jump(ask: Ask) -> str:
        return "jump; False" if ask.role is Role.LOW else count_well(ask)

    _, engine = play(pool, jump, count=2)
    asks = [ask for batch in engine.batches for ask in batch]
    lows = [ask for ask in asks if ask.role is Role.LOW]
    # Both episodes have the same two prompts, the first one once: prompts of another episode do not count.
    assert len({ask.prompt for ask in lows}) == 2
    assert [sum(ask.is_repeat is is_repeat for ask in lows) for is_repeat in (False, True)] == [4, 2 * (LIMIT - 2)]

    _, engine = play(pool, jump, count=1)
    read: set[tuple[Role, str]] = set()
    for ask in (ask for batch in engine.batches for ask in batch):
        assert ask.is_repeat is ((ask.role, ask.prompt) in read)
        read.add((ask.role, ask.prompt))


def test_an_unreadable_subtask_ends_the_episode(pool: WorkerPool) -> None:
    [episode], _ = play(pool, lambda ask: "")
    assert [(s.unreadable, s.steps, s.ended_by) for s in episode.segments] == [("", (), "unreadable")]


def test_an_unreadable_progress_keeps_the_one_before(pool: WorkerPool) -> None:
    [episode], _ = play(pool, lambda ask: "" if ask.role is Role.PROGRESS else count_well(ask))
    assert [step.next_local_progress for step in episode.steps] == ["None"] * 4 + [None]
    assert [step.progress_unreadable for step in episode.steps] == [""] * 4 + [None]


@pytest.mark.parametrize(
    ("action", "error"), [("die", "died"), ("hang", "no answer within 2 s"), ("raise", "RuntimeError: the world broke")]
)
def test_a_lost_worker_is_replaced_and_its_episode_retried_once(pool: WorkerPool, action: str, error: str) -> None:
    def sabotage(ask: Ask) -> str:
        if ask.role is Role.HIGH:
            return "break it" if "(1)" in ask.prompt else "count twice"
        return f"{action}; False" if "break it" in ask.prompt else count_well(ask)

    episodes, _ = play(pool, sabotage, count=3)
    by_variation = {episode.task.variation: episode for episode in episodes}
    assert len(episodes) == 3
    assert by_variation[1].error is not None
    assert error in by_variation[1].error
    assert by_variation[1].provenance["attempts"] == "2"
    assert not by_variation[1].success
    assert pool.restarts == 2
    assert by_variation[0].success
    assert by_variation[2].success


class SlowEngine(ScriptedEngine):
    """Answers one ask at a time, the oldest first, and takes new asks in between."""

    def serve(self, exchange: Exchange) -> None:
        waiting, taken = deque[tuple[int, Ask]](), 0
        finished: list[tuple[int, Utterance]] = []
        while (asks := exchange(finished)) or waiting:
            self.joined = getattr(self, "joined", 0) + (len(asks) if waiting else 0)
            waiting += enumerate(asks, taken)
            taken += len(asks)
            number, ask = waiting.popleft()
            finished = [(number, self.generate([ask])[0])]


def test_episodes_continue_while_others_wait_for_answers(pool: WorkerPool) -> None:
    engine, episodes = SlowEngine(count_well), list[Episode]()
    jobs = [Job(task) for task in CountingWorld().tasks("train", per_task=6)]
    rollout(jobs, StepHrlAgent(), engine, pool, concurrent=4, on_episode=episodes.append)
    assert [episode.success for episode in episodes] == [True] * 6
    assert engine.joined > len(jobs)


def test_an_answer_to_a_lost_episode_is_dropped(pool: WorkerPool) -> None:
    def answer(ask: Ask) -> str:
        return (
            "die; False" if "(1)" not in ask.prompt and ask.role is Role.LOW and next(deaths, None) else count_well(ask)
        )

    deaths = iter([True])
    engine, episodes = SlowEngine(answer), list[Episode]()
    jobs = [Job(task) for task in CountingWorld().tasks("train", per_task=6)]
    rollout(jobs, StepHrlAgent(), engine, pool, concurrent=6, on_episode=episodes.append)
    assert pool.restarts == 1
    assert sorted(episode.task.variation for episode in episodes) == list(range(6))
    assert all(episode.success for episode in episodes)
