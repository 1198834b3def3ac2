"""The paper's agent: three roles, each reading one step (paper, section 3.1)."""

from __future__ import annotations

from collections.abc import Generator

from step_hrl.agents.base import EpisodeLog, Play, happened, said
from step_hrl.errors import UnreadableReply
from step_hrl.roles import high_level, local_progress, low_level
from step_hrl.types import NOTHING, Act, Ask, EndedBy, Observation, Outcome, Role, Segment, Step, Task, Utterance


class StepHrlAgent:
    """Names a subtask, acts until the low level says it is done, and carries only the final progress on.

    A subtask does not end with an action the world did not understand, whatever the low level says of it: nothing
    was done. See ``AgentConfig`` for both arguments.
    """

    def __init__(self, *, unreadable_action: str | None = None, refused_claims_count: bool = False) -> None:
        """Act as the arguments say where the low level's reply is of no use."""
        self._unreadable_action = unreadable_action
        self._refused_claims_count = refused_claims_count

    @property
    def name(self) -> str:
        """``step_hrl``."""
        return "step_hrl"

    def play(self, task: Task, observation: Observation, log: EpisodeLog) -> Play:
        """Play one episode; see :class:`~step_hrl.agents.base.Agent`."""
        completed: tuple[str, ...] = ()
        progress, over = NOTHING, False
        while not over:
            state = high_level.State(task.instruction, completed, progress, observation)
            named = said((yield Ask(Role.HIGH, high_level.render(state))))
            try:
                subtask, unreadable = high_level.parse(named.text), None
            except UnreadableReply:
                subtask, unreadable = "", named.text
            log.begin(Segment(subtask, completed, progress, observation, (), "policy", unreadable, named.usage))
            if unreadable is not None:
                log.end("unreadable")  # nothing to act on, and asking again would bring the same
                return
            progress, subtask_done = NOTHING, False
            ended_by: EndedBy = "episode"
            while not (subtask_done or over):
                step = yield from self._step(subtask, progress, observation)
                log.step(step)
                subtask_done = step.subtask_done and (step.understood or self._refused_claims_count)
                over = step.terminated or step.truncated
                progress = step.local_progress if step.next_local_progress is None else step.next_local_progress
                observation = step.next_observation
                ended_by = "policy" if subtask_done else "limit" if step.truncated else "episode"
            log.end(ended_by)
            completed = (*completed, subtask)

    def _step(
        self, subtask: str, progress: str, observation: Observation
    ) -> Generator[Ask | Act, Utterance | Outcome, Step]:
        """One decision of pi_l, what came of it, and pi_p's account of it."""
        chosen = said((yield Ask(Role.LOW, low_level.render(low_level.State(subtask, progress, observation)))))
        usages = {Role.LOW: chosen.usage}
        try:
            (action, subtask_done), unreadable = low_level.parse(chosen.text), None
        except UnreadableReply:
            action, subtask_done, unreadable = "", False, chosen.text
        outcome = happened((yield Act(self._unreadable_action if unreadable is not None else action)))
        next_progress, progress_unreadable = None, None
        if not outcome.over:  # the last step of an episode has no progress update
            state = local_progress.State(subtask, progress, action, outcome.observation)
            written = said((yield Ask(Role.PROGRESS, local_progress.render(state))))
            usages[Role.PROGRESS] = written.usage
            try:
                next_progress = local_progress.parse(written.text)
            except UnreadableReply:
                next_progress, progress_unreadable = progress, written.text
        return Step(
            observation=observation,
            local_progress=progress,
            action=action,
            subtask_done=subtask_done,
            reward=outcome.reward,
            next_observation=outcome.observation,
            next_local_progress=next_progress,
            understood=outcome.understood,
            terminated=outcome.terminated,
            truncated=outcome.truncated,
            unreadable=unreadable,
            progress_unreadable=progress_unreadable,
            usages=usages,
        )
