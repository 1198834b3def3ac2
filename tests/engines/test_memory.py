"""Equal prompts are sent to the engine once, and every ask is answered."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from tests.asks import ask

from step_hrl.engines import memory
from step_hrl.engines.memory import with_cache
from step_hrl.types import Ask, Role, Usage, Utterance


class Asker:
    """Makes scripted asks, call by call, and records the answers by number of their ask."""

    def __init__(self, *calls: Sequence[Ask]) -> None:
        self.calls = list(calls)
        self.answers: dict[int, Utterance | None] = {}

    def exchange(self, finished: Sequence[tuple[int, Utterance]]) -> Sequence[Ask]:
        assert not self.answers.keys() & dict(finished).keys(), "each ask is answered once"
        self.answers.update(finished)
        return self.calls.pop(0) if self.calls else ()


def low(prompt: str) -> Ask:
    return ask(Role.LOW, prompt)


def utterance(text: str) -> Utterance:
    return Utterance(text, Usage(prompt_tokens=7, completion_tokens=2))


def test_a_cached_or_pending_prompt_is_not_sent_again() -> None:
    asker = Asker([low("a"), low("b"), low("a")], [low("b"), low("c")], [low("b"), low("a")], [low("d")])
    exchange = with_cache(asker.exchange, lambda ask: ask.is_repeat)
    assert exchange([]) == [low("a"), low("b")]
    assert exchange([(0, utterance("A"))]) == [low("c")]  # the second b waits for the answer to the first
    assert {number: answer.text for number, answer in asker.answers.items()} == {0: "A", 2: "A"}
    # Numbers count the asks that were sent: b was the second, c the third. Cached prompts are answered at once.
    assert exchange([(1, utterance("B")), (2, utterance("C"))]) == [low("d")]
    assert exchange([(3, utterance("D"))]) == []
    assert [asker.answers[number].text for number in range(8)] == ["A", "B", "A", "B", "C", "B", "A", "D"]


def test_prompt_tokens_count_as_cached_only_if_the_episode_repeats_the_prompt() -> None:
    repeated = ask(Role.LOW, "a", is_repeat=True)
    asker = Asker([low("a"), low("a")], [low("a"), repeated])
    exchange = with_cache(asker.exchange, lambda _: False)
    exchange([])
    exchange([(0, utterance("A"))])
    # Usage does not depend on which episode asks first or how often an episode is restarted.
    assert [asker.answers[number].usage for number in range(3)] == [Usage(7, 0, 2)] * 3
    assert asker.answers[3].usage == Usage(7, 7, 2)


def test_roles_do_not_share_answers() -> None:
    asker = Asker([low("a"), ask(Role.PROGRESS, "a")])
    assert len(with_cache(asker.exchange, lambda ask: ask.is_repeat)([])) == 2


def test_sampled_asks_are_sent_each_time_and_are_not_cached() -> None:
    sampled = [ask(Role.LOW, "a", seed=seed, is_repeat=True) for seed in (1, 2)]
    asker = Asker([low("a"), *sampled], [ask(Role.LOW, "a", seed=3, is_repeat=True), low("a")])
    exchange = with_cache(asker.exchange, lambda ask: ask.is_repeat)
    assert exchange([]) == [low("a"), *sampled]
    assert exchange([(0, utterance("A")), (1, utterance("B"))]) == [ask(Role.LOW, "a", seed=3, is_repeat=True)]
    assert [asker.answers[number].text for number in (0, 1, 4)] == ["A", "B", "A"]


def test_the_oldest_answers_are_evicted(monkeypatch: pytest.MonkeyPatch) -> None:
    asker = Asker([low("a")], [low("b")], [low("a")], [low("a")])
    exchange = with_cache(asker.exchange, lambda ask: ask.is_repeat)
    monkeypatch.setattr(memory, "CACHE_SIZE", 1)
    exchange([])
    exchange([(0, utterance("A"))])
    assert exchange([(1, utterance("B"))]) == [low("a")]
