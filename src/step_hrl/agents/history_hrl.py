"""Two levels without local progress, as in GLIDER (Hu et al. 2025): each reads a history of its own."""

from __future__ import annotations

from step_hrl.agents.base import EpisodeLog, Play, attempt, begin_subtask
from step_hrl.data import transcript_transitions
from step_hrl.data.transcript_transitions import after
from step_hrl.data.transitions import SubtaskVerifier
from step_hrl.prompts import high_level, low_level, transcript
from step_hrl.prompts.transcript import Bounds
from step_hrl.types import NOTHING, EndedBy, Episode, Observation, Task, Transition


class HistoryHrlAgent:
    """The high level reads the completed subtasks, the low level the transcript of the running one."""

    def __init__(
        self, bounds: Bounds, *, unreadable_action: str | None = None, complete_on_invalid_action: bool = False
    ) -> None:
        """See ``AgentConfig`` for the arguments."""
        self._bounds = bounds
        self._unreadable_action = unreadable_action
        self._refused_claims_count = complete_on_invalid_action

    @property
    def name(self) -> str:
        """``history_hrl``."""
        return "history_hrl"

    def play(self, task: Task, observation: Observation, log: EpisodeLog) -> Play:
        """Play one episode; see :class:`~step_hrl.agents.base.Agent`."""
        completed: tuple[str, ...] = ()
        over = False
        while not over:
            subtask = yield from begin_subtask(high_level.State(task.instruction, completed, NOTHING, observation), log)
            if subtask is None:
                return
            state, subtask_done = transcript.State(subtask, (), observation), False
            ended_by: EndedBy = "episode"
            while not (subtask_done or over):
                prompt = transcript.render(state, "Subtask", self._bounds)
                tried = yield from attempt(prompt, low_level.parse, self._unreadable_action)
                step = tried.step(state.observation, dropped=transcript.dropped(state.events, self._bounds))
                log.step(step)
                state = transcript.State(subtask, after(state.events, step), step.next_observation)
                subtask_done = step.subtask_done and (step.is_valid_action or self._refused_claims_count)
                over = tried.outcome.over
                ended_by = "policy" if subtask_done else "limit" if step.truncated else "episode"
            log.end(ended_by)
            completed, observation = (*completed, subtask), state.observation

    def transitions(self, episode: Episode, verifier: SubtaskVerifier) -> list[Transition]:
        """Cut an episode into what this agent would have read; see :class:`~step_hrl.agents.base.Agent`."""
        return transcript_transitions.hierarchical(episode, self._bounds, verifier)
