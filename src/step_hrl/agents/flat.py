"""Baselines with one policy that reads the task and a transcript of all its actions."""

from __future__ import annotations

from step_hrl.agents.base import EpisodeLog, Play, new_step, parse_or_none
from step_hrl.data import transcript_transitions
from step_hrl.data.transitions import SubtaskVerifier
from step_hrl.errors import RecipeError
from step_hrl.prompts import react, transcript
from step_hrl.prompts.low_level import Decision
from step_hrl.prompts.transcript import Bounds
from step_hrl.types import (
    NOTHING,
    Act,
    Ask,
    Episode,
    Observation,
    Outcome,
    Role,
    Segment,
    State,
    Task,
    Transition,
    Utterance,
)


class FlatAgent:
    """Acts on the instruction, the latest part of its transcript that ``bounds`` allow, and the observation."""

    def __init__(self, bounds: Bounds, *, unreadable_action: str | None = None) -> None:
        """See ``config.FlatConfig``."""
        self._bounds = bounds
        self._unreadable_action = unreadable_action

    @property
    def name(self) -> str:
        """``flat``, with the number of steps in its window where there is one."""
        return "flat" if self._bounds.steps is None else f"flat_window-{self._bounds.steps}"

    def play(self, task: Task, observation: Observation, log: EpisodeLog) -> Play:
        """Play one episode as a single segment; see :class:`~step_hrl.agents.base.Agent`."""
        log.open(Segment(task.instruction, (), NOTHING, observation, (), "episode"))
        state, over = transcript.State("Task", task.instruction, (), observation, self._bounds), False
        while not over:
            reply: Utterance = yield Ask(Role.LOW, self._read(state))
            action = parse_or_none(self._parse, reply)
            outcome: Outcome = yield Act(action or self._unreadable_action)
            decision = None if action is None else Decision(action, False)
            step = new_step(state.observation, reply, decision, outcome, dropped=state.dropped)
            log.step(step)
            state, over = state.after(step), outcome.over
        log.end()

    def transitions(self, episode: Episode, verifier: SubtaskVerifier) -> list[Transition]:
        """Cut an episode into low-level transitions; there are no subtasks to verify."""
        return transcript_transitions.flat(episode, self._bounds)

    def _read(self, state: transcript.State) -> State:
        return state

    def _parse(self, reply: str) -> str:
        return transcript.parse(reply)


class ReactAgent(FlatAgent):
    """A prompted model that thinks aloud before each action; it is not trained."""

    def __init__(self, bounds: Bounds, *, instructions: str = "", unreadable_action: str | None = None) -> None:
        """See ``config.ReactConfig``."""
        super().__init__(bounds, unreadable_action=unreadable_action)
        self._instructions = instructions

    @property
    def name(self) -> str:
        """``react``, with the number of steps in its window where there is one."""
        return super().name.replace("flat", "react")

    def transitions(self, episode: Episode, verifier: SubtaskVerifier) -> list[Transition]:
        """Raises :class:`~step_hrl.errors.RecipeError`: no demonstration shows thoughts."""
        raise RecipeError("agent.type", "react is prompted, not trained", "play it with `step-hrl eval` and `api:`")

    def _read(self, state: transcript.State) -> State:
        return react.State(state, self._instructions)

    def _parse(self, reply: str) -> str:
        return react.parse(reply)
