"""An expert as an engine: it answers asks from their states, as a model answers from their prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from random import Random

from step_hrl.engines.base import Answers, Engine, Exchange
from step_hrl.experts.base import Expert
from step_hrl.prompts import high_level, low_level
from step_hrl.prompts.low_level import Decision
from step_hrl.types import Ask, Job, Role, Utterance


class ExpertEngine:
    """Answers every ask immediately. An episode ends where the expert has no answer."""

    def __init__(self, expert: Expert, answer: Callable[[Ask], Utterance | None] | None = None) -> None:
        """``answer`` defaults to the expert's."""
        self._expert = expert
        self._answer = answer or expert.answer

    def serve(self, exchange: Exchange) -> None:
        """See :class:`~step_hrl.engines.base.Engine`."""
        answered, finished = 0, list[tuple[int, Utterance | None]]()
        while asks := exchange(finished):
            finished = [(number, self._answer(ask)) for number, ask in enumerate(asks, answered)]
            answered += len(asks)

    def provenance(self) -> dict[str, str]:
        """The expert's name and version."""
        return {"expert": self._expert.name}


class NoisyEngine:
    """An engine that replaces a share of the actions and subtasks by mistakes.

    A policy that imitates flawless demonstrations has never seen the states after its own first mistake (Ross et al.
    2011; noise injected into the demonstrator: Laskey et al. 2017). The noise depends only on the job.
    """

    def __init__(self, engine: Engine, expert: Expert, share: float) -> None:
        """Inject an expert's mistakes with probability ``share``."""
        self._engine = engine
        self._expert = expert
        self._share = share
        self._generators: dict[Job, Random] = {}

    def serve(self, exchange: Exchange) -> None:
        """See :class:`~step_hrl.engines.base.Engine`."""
        asks: dict[int, Ask] = {}
        asked = 0

        def noisy(finished: Answers) -> Sequence[Ask]:
            nonlocal asked
            new = exchange([(number, self._with_noise(asks.pop(number), answer)) for number, answer in finished])
            asks.update(enumerate(new, asked))
            asked += len(new)
            return new

        self._engine.serve(noisy)

    def provenance(self) -> dict[str, str]:
        """The engine's provenance and the share of noise."""
        return {**self._engine.provenance(), "action_noise": f"{self._share:g}"}

    def _with_noise(self, ask: Ask, answer: Utterance | None) -> Utterance | None:
        """The answer, or a mistake in its place."""
        state, generator = ask.state, self._generator(ask)
        if answer is None:
            return None
        if isinstance(state, high_level.State) and self._expert.wrong_subtask is not None:
            if generator.random() < self._share:
                wrong = self._expert.wrong_subtask(state, answer.text, generator)
                return answer if wrong is None else replace(answer, text=high_level.utterance(wrong), is_noise=True)
        elif isinstance(state, low_level.State) and generator.random() < self._share:
            action = self._expert.mistake(state, low_level.parse(answer.text).action, generator)
            return replace(answer, text=low_level.utterance(Decision(action, False)), is_noise=True)
        return answer

    def _generator(self, ask: Ask) -> Random:
        """The episode's random generator, created at its first ask."""
        assert ask.job is not None, "the ask belongs to an episode"
        if ask.number == 1:
            self._generators[ask.job] = Random(f"{ask.job.task.key} {ask.job.seed} {ask.job.repeat}")
        return self._generators[ask.job]


class Script:
    """Answers high and low level from one script per job, and the local progress with an expert."""

    def __init__(self, expert: Expert, scripts: Mapping[Job, Sequence[str]]) -> None:
        """``scripts`` holds the utterances of each job in the order of its asks."""
        self._expert = expert
        self._scripts = scripts
        self._positions: dict[Job, int] = {}

    def answer(self, ask: Ask) -> Utterance | None:
        """The next utterance; None at the end of the script."""
        assert ask.job is not None, "the ask belongs to an episode"
        if ask.role is Role.PROGRESS:
            return self._expert.answer(ask)
        position = 0 if ask.number == 1 else self._positions[ask.job]
        self._positions[ask.job] = position + 1
        script = self._scripts[ask.job]
        return Utterance(script[position]) if position < len(script) else None
