"""The paper's agent: three policies, each of which reads one step (paper, section 3.1)."""

from __future__ import annotations

from step_hrl.agents.base import EpisodeLog, Play, new_step, parse_or_none, with_progress
from step_hrl.data.transitions import SubtaskVerifier, transitions
from step_hrl.prompts import high_level, local_progress, low_level
from step_hrl.types import NOTHING, Act, Ask, Episode, Observation, Outcome, Role, Task, Transition, Utterance


class StepHrlAgent:
    """Names a subtask, acts until the low level completes it, and carries only the final progress on."""

    def __init__(self, *, unreadable_action: str | None = None, complete_on_invalid_action: bool = False) -> None:
        """Set what happens where the low level's reply is of no use; see ``config.StepHrlConfig``."""
        self._unreadable_action = unreadable_action
        self._complete_on_invalid_action = complete_on_invalid_action

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
            subtask = log.begin(state, (yield Ask(Role.HIGH, state)))
            if subtask is None:  # greedy decoding would repeat the unreadable reply
                return
            progress, subtask_done = NOTHING, False
            while not (subtask_done or over):
                reply: Utterance = yield Ask(Role.LOW, low_level.State(subtask, progress, observation))
                decision = parse_or_none(low_level.parse, reply)
                outcome: Outcome = yield Act(decision.action if decision else self._unreadable_action)
                step = new_step(observation, reply, decision, outcome, progress=progress)
                if not outcome.over:  # the last step of an episode has no progress update
                    state = local_progress.State(subtask, progress, step.action, outcome.observation)
                    step = with_progress(step, (yield Ask(Role.PROGRESS, state)))
                log.step(step)
                observation, progress, over = outcome.observation, step.progress_after, outcome.over
                subtask_done = step.subtask_done and (step.is_valid_action or self._complete_on_invalid_action)
            log.end(subtask_done=subtask_done)
            completed = (*completed, subtask)

    def transitions(self, episode: Episode, verifier: SubtaskVerifier) -> list[Transition]:
        """Cut an episode into the transitions of three roles; see :class:`~step_hrl.agents.base.Agent`."""
        return transitions(episode, verifier)
