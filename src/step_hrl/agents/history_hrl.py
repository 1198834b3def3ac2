"""Two levels without local progress, as in GLIDER (Hu et al. 2025): each reads a history of its own."""

from __future__ import annotations

from step_hrl.agents.base import EpisodeLog, Play, new_step, parse_or_none
from step_hrl.data import transcript_transitions
from step_hrl.data.transitions import SubtaskVerifier
from step_hrl.prompts import high_level, low_level, transcript
from step_hrl.prompts.transcript import Bounds
from step_hrl.types import NOTHING, Act, Ask, Episode, Observation, Outcome, Role, Task, Transition, Utterance


class HistoryHrlAgent:
    """The high level reads the completed subtasks, the low level the transcript of the running one."""

    def __init__(
        self, bounds: Bounds, *, unreadable_action: str | None = None, complete_on_invalid_action: bool = False
    ) -> None:
        """See ``config.HistoryHrlConfig``."""
        self._bounds = bounds
        self._unreadable_action = unreadable_action
        self._complete_on_invalid_action = complete_on_invalid_action

    @property
    def name(self) -> str:
        """``history_hrl``."""
        return "history_hrl"

    def play(self, task: Task, observation: Observation, log: EpisodeLog) -> Play:
        """Play one episode; see :class:`~step_hrl.agents.base.Agent`."""
        completed: list[str] = []
        over = False
        while not over:
            state = high_level.State(task.instruction, tuple(completed), NOTHING, observation)
            subtask = log.begin(state, (yield Ask(Role.HIGH, state)))
            if subtask is None:
                return
            subtask_done = False
            history = transcript.State("Subtask", subtask, (), observation, self._bounds)
            while not (subtask_done or over):
                reply: Utterance = yield Ask(Role.LOW, history)
                decision = parse_or_none(low_level.parse, reply)
                outcome: Outcome = yield Act(decision.action if decision else self._unreadable_action)
                step = new_step(observation, reply, decision, outcome, dropped=history.dropped)
                log.step(step)
                history, observation, over = history.after(step), outcome.observation, outcome.over
                subtask_done = step.subtask_done and (step.is_valid_action or self._complete_on_invalid_action)
            log.end(subtask_done=subtask_done)
            completed.append(subtask)

    def transitions(self, episode: Episode, verifier: SubtaskVerifier) -> list[Transition]:
        """Cut an episode into high-level and low-level transitions; see :class:`~step_hrl.agents.base.Agent`."""
        return transcript_transitions.hierarchical(episode, self._bounds, verifier)
