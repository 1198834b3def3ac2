"""The same prompt is brought once; everybody who asks it is answered."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from tests.asks import ask

from step_hrl.engines import memory
from step_hrl.engines.memory import with_cache
from step_hrl.types import Ask, Role, Usage, Utterance


class Asker:
    """Asks what it is told to, call by call, and notes the answers by the number of their ask."""

    def __init__(self, *calls: Sequence[Ask]) -> None:
        self.calls = list(calls)
        self.answers: dict[int, Utterance | None] = {}

    def exchange(self, finished: Sequence[tuple[int, Utterance]]) -> Sequence[Ask]:
        assert not self.answers.keys() & dict(finished).keys(), "each ask is answered once"
        self.answers.update(finished)
        return self.calls.pop(0) if self.calls else ()


def low(prompt: str) -> Ask:
    return ask(Role.LOW, prompt)


def said(text: str) -> Utterance:
    return Utterance(text, Usage(prompt_tokens=7, completion_tokens=2))


def test_what_is_known_or_being_answered_is_not_brought_again() -> None:
    asker = Asker([low("a"), low("b"), low("a")], [low("b"), low("c")], [low("b"), low("a")], [low("d")])
    exchange = with_cache(asker.exchange, lambda ask: ask.is_repeat)
    assert exchange([]) == [low("a"), low("b")]
    assert exchange([(0, said("A"))]) == [low("c")]  # b, asked again, waits for its first answer
    assert {number: answer.text for number, answer in asker.answers.items()} == {0: "A", 2: "A"}
    # Numbers are those of what was brought: b was the second, c the third. What is known is answered on the spot.
    assert exchange([(1, said("B")), (2, said("C"))]) == [low("d")]
    assert exchange([(3, said("D"))]) == []
    assert [asker.answers[number].text for number in range(8)] == ["A", "B", "A", "B", "C", "B", "A", "D"]


def test_a_prompt_counts_as_cached_only_for_the_episode_that_has_read_it() -> None:
    again = ask(Role.LOW, "a", is_repeat=True)
    asker = Asker([low("a"), low("a")], [low("a"), again])
    exchange = with_cache(asker.exchange, lambda _: False)
    exchange([])
    exchange([(0, said("A"))])
    # Whoever asks first, and however often an episode is begun: what each costs is the same.
    assert [asker.answers[number].usage for number in range(3)] == [Usage(7, 0, 2)] * 3
    assert asker.answers[3].usage == Usage(7, 7, 2)


def test_roles_do_not_share_answers() -> None:
    asker = Asker([low("a"), ask(Role.PROGRESS, "a")])
    assert len(with_cache(asker.exchange, lambda ask: ask.is_repeat)([])) == 2


def test_what_is_drawn_is_brought_each_time_and_tells_nothing_of_the_greedy_answer() -> None:
    drawn = [ask(Role.LOW, "a", seed=seed, is_repeat=True) for seed in (1, 2)]
    asker = Asker([low("a"), *drawn], [ask(Role.LOW, "a", seed=3, is_repeat=True), low("a")])
    exchange = with_cache(asker.exchange, lambda ask: ask.is_repeat)
    assert exchange([]) == [low("a"), *drawn]
    assert exchange([(0, said("A")), (1, said("B"))]) == [ask(Role.LOW, "a", seed=3, is_repeat=True)]
    assert [asker.answers[number].text for number in (0, 1, 4)] == ["A", "B", "A"]


def test_the_oldest_answers_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    asker = Asker([low("a")], [low("b")], [low("a")], [low("a")])
    exchange = with_cache(asker.exchange, lambda ask: ask.is_repeat)
    monkeypatch.setattr(memory, "CACHE_SIZE", 1)
    exchange([])
    exchange([(0, said("A"))])
    assert exchange([(1, said("B"))]) == [low("a")]
