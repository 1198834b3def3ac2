"""One policy that reads the task and a transcript of all it did: the baseline of long prompts."""

from __future__ import annotations

from step_hrl import history_transitions
from step_hrl.agents.base import EpisodeLog, Play, attempt
from step_hrl.history_transitions import after
from step_hrl.roles import history
from step_hrl.roles.history import Bounds
from step_hrl.roles.low_level import Decision
from step_hrl.transitions import Judge
from step_hrl.types import NOTHING, Episode, Observation, Segment, Task, Transition


class FlatAgent:
    """Acts on the instruction, the latest part of its transcript that ``bounds`` allow, and what it sees."""

    def __init__(self, bounds: Bounds, *, unreadable_action: str | None = None) -> None:
        """See ``AgentConfig`` for the arguments."""
        self._bounds = bounds
        self._unreadable_action = unreadable_action

    @property
    def name(self) -> str:
        """``flat``, or ``flat_window`` where it reads so many steps and no more."""
        return "flat" if self._bounds.steps is None else f"flat_window-{self._bounds.steps}"

    def play(self, task: Task, observation: Observation, log: EpisodeLog) -> Play:
        """Play one episode; see :class:`~step_hrl.agents.base.Agent`. All of it is one segment."""
        log.begin(Segment(task.instruction, (), NOTHING, observation, (), "episode"))
        state, over, truncated = history.State(task.instruction, (), observation), False, False
        while not over:
            prompt = history.render(state, "Task", self._bounds)
            tried = yield from attempt(prompt, _decision, self._unreadable_action)
            step = tried.step(state.observation)
            log.step(step)
            state = history.State(state.goal, after(state.events, step), step.next_observation)
            over, truncated = tried.outcome.over, tried.outcome.truncated
        log.end("limit" if truncated else "episode")

    def transitions(self, episode: Episode, judge: Judge) -> list[Transition]:
        """Cut an episode into what this agent would have read; it has no subtasks to judge."""
        return history_transitions.flat(episode, self._bounds)


def _decision(reply: str) -> Decision:
    return Decision(history.parse(reply), False)
