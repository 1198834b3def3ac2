"""The paper's agent: three roles, each reading one step (paper, section 3.1)."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

from step_hrl.agents.base import EpisodeLog, Play, attempt, begin_subtask, said
from step_hrl.data.ablations import without_hierarchy, without_local_progress
from step_hrl.data.transitions import SubtaskVerifier, transitions
from step_hrl.errors import UnreadableReply
from step_hrl.prompts import high_level, local_progress, low_level
from step_hrl.types import (
    NOTHING,
    Act,
    Ask,
    EndedBy,
    Episode,
    Observation,
    Outcome,
    Role,
    Segment,
    Step,
    Task,
    Transition,
    Utterance,
)


class StepHrlAgent:
    """Names a subtask, acts until the low level says it is done, and carries only the final progress on.

    A subtask does not end with an action the world did not understand, whatever the low level says of it: nothing
    was done. Without ``hierarchy`` the instruction is the only subtask; without ``local_progress`` none is kept. See
    ``AgentConfig`` for all arguments.
    """

    def __init__(
        self,
        *,
        unreadable_action: str | None = None,
        complete_on_invalid_action: bool = False,
        hierarchy: bool = True,
        local_progress: bool = True,
    ) -> None:
        """Act as the arguments say where the low level's reply is of no use."""
        self._unreadable_action = unreadable_action
        self._refused_claims_count = complete_on_invalid_action
        self._hierarchy = hierarchy
        self._local_progress = local_progress

    @property
    def name(self) -> str:
        """``step_hrl``, and what it goes without."""
        lacks = "" if self._hierarchy else "-no_hierarchy"
        return f"step_hrl{lacks}" if self._local_progress else f"step_hrl{lacks}-no_local_progress"

    def play(self, task: Task, observation: Observation, log: EpisodeLog) -> Play:
        """Play one episode; see :class:`~step_hrl.agents.base.Agent`."""
        completed: tuple[str, ...] = ()
        progress, over = NOTHING, False
        while not over:
            subtask = yield from self._begin(high_level.State(task.instruction, completed, progress, observation), log)
            if subtask is None:
                return
            progress, subtask_done = NOTHING, False
            ended_by: EndedBy = "episode"
            while not (subtask_done or over):
                step = yield from self._step(subtask, progress, observation)
                log.step(step)
                subtask_done = self._completes(step)
                over = step.terminated or step.truncated
                progress = step.local_progress if step.next_local_progress is None else step.next_local_progress
                observation = step.next_observation
                ended_by = "policy" if subtask_done else "limit" if step.truncated else "episode"
            log.end(ended_by)
            completed = (*completed, subtask)

    def transitions(self, episode: Episode, verifier: SubtaskVerifier) -> list[Transition]:
        """Cut an episode into what this agent would have read; see :class:`~step_hrl.agents.base.Agent`."""
        lived = episode if self._hierarchy else without_hierarchy(episode)
        lived = lived if self._local_progress else without_local_progress(lived)
        cut = transitions(lived, verifier)
        return cut if self._hierarchy else [t for t in cut if t.role is not Role.HIGH]

    def _begin(self, state: high_level.State, log: EpisodeLog) -> Generator[Ask | Act, Utterance | Outcome, str | None]:
        """pi_h's next subtask."""
        if self._hierarchy:
            return (yield from begin_subtask(state, log))
        log.begin(Segment(state.instruction, (), NOTHING, state.observation, (), "policy"))
        return state.instruction

    def _completes(self, step: Step) -> bool:
        """Whether the subtask ends with a step. Where the task is the only subtask, the world tells."""
        return self._hierarchy and step.subtask_done and (step.is_valid_action or self._refused_claims_count)

    def _step(
        self, subtask: str, progress: str, observation: Observation
    ) -> Generator[Ask | Act, Utterance | Outcome, Step]:
        """One decision of pi_l, what came of it, and pi_p's account of it."""
        prompt = low_level.render(low_level.State(subtask, progress, observation))
        tried = yield from attempt(prompt, low_level.parse, self._unreadable_action)
        step = tried.step(observation, progress)
        if tried.outcome.over or not self._local_progress:  # the last step of an episode has no progress update
            return step
        state = local_progress.State(subtask, progress, tried.action, tried.outcome.observation)
        written = said((yield Ask(Role.PROGRESS, local_progress.render(state))))
        usages = {**step.usages, Role.PROGRESS: written.usage}
        try:
            return replace(step, next_local_progress=local_progress.parse(written.text), usages=usages)
        except UnreadableReply:
            return replace(step, next_local_progress=progress, progress_unreadable=written.text, usages=usages)
