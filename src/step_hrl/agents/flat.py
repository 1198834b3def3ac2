"""One policy that reads the task and a transcript of all it did: the baseline of long prompts."""

from __future__ import annotations

from step_hrl.agents.base import EpisodeLog, Play, attempt
from step_hrl.data import transcript_transitions
from step_hrl.data.transcript_transitions import after
from step_hrl.data.transitions import SubtaskVerifier
from step_hrl.errors import RecipeError
from step_hrl.prompts import react, transcript
from step_hrl.prompts.low_level import Decision
from step_hrl.prompts.transcript import Bounds
from step_hrl.types import NOTHING, Episode, Observation, Segment, Task, Transition


class FlatAgent:
    """Acts on the instruction, the latest part of its transcript that ``bounds`` allow, and what it sees.

    With ``thinks`` (the instructions of a world, may be empty) it is a prompted model that thinks aloud first.
    """

    def __init__(self, bounds: Bounds, *, unreadable_action: str | None = None, thinks: str | None = None) -> None:
        """See ``AgentConfig`` for the arguments."""
        self._bounds = bounds
        self._unreadable_action = unreadable_action
        self._thinks = thinks

    @property
    def name(self) -> str:
        """``flat`` or ``react``, with the number of steps it reads where there is one."""
        name = "flat" if self._thinks is None else "react"
        return name if self._bounds.steps is None else f"{name}_window-{self._bounds.steps}"

    def play(self, task: Task, observation: Observation, log: EpisodeLog) -> Play:
        """Play one episode; see :class:`~step_hrl.agents.base.Agent`. All of it is one segment."""
        log.begin(Segment(task.instruction, (), NOTHING, observation, (), "episode"))
        state, over, truncated = transcript.State(task.instruction, (), observation), False, False
        while not over:
            tried = yield from attempt(self._prompt(state), self._decision, self._unreadable_action)
            step = tried.step(state.observation, dropped=transcript.dropped(state.events, self._bounds))
            log.step(step)
            state = transcript.State(state.goal, after(state.events, step), step.next_observation)
            over, truncated = tried.outcome.over, tried.outcome.truncated
        log.end("limit" if truncated else "episode")

    def transitions(self, episode: Episode, verifier: SubtaskVerifier) -> list[Transition]:
        """Cut an episode into what this agent would have read; it has no subtasks to verify.

        Raises :class:`~step_hrl.errors.RecipeError` for one that thinks: nobody has shown it its thoughts.
        """
        if self._thinks is not None:
            raise RecipeError("agent.kind", "react is prompted, not trained", "play it with `step-hrl eval` and `api:`")
        return transcript_transitions.flat(episode, self._bounds)

    def _prompt(self, state: transcript.State) -> str:
        if self._thinks is None:
            return transcript.render(state, "Task", self._bounds)
        return react.render(state, self._thinks, self._bounds)

    def _decision(self, reply: str) -> Decision:
        parse = transcript.parse if self._thinks is None else react.parse
        return Decision(parse(reply), False)
