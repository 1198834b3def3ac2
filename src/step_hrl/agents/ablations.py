"""The paper's agent without one of its parts."""

from __future__ import annotations

from step_hrl.agents.base import EpisodeLog, Play, new_step, parse_or_none, with_progress
from step_hrl.data.ablations import without_hierarchy, without_local_progress
from step_hrl.data.transitions import SubtaskVerifier, transitions
from step_hrl.prompts import high_level, local_progress, low_level
from step_hrl.types import NOTHING, Act, Ask, Episode, Observation, Outcome, Role, Segment, Task, Transition, Utterance


class NoHierarchyAgent:
    """Takes the instruction as the only subtask, which only the environment ends."""

    def __init__(self, *, unreadable_action: str | None = None) -> None:
        """See ``config.NoHierarchyConfig``."""
        self._unreadable_action = unreadable_action

    @property
    def name(self) -> str:
        """``no_hierarchy``."""
        return "no_hierarchy"

    def play(self, task: Task, observation: Observation, log: EpisodeLog) -> Play:
        """Play one episode; see :class:`~step_hrl.agents.base.Agent`."""
        subtask, progress, over = task.instruction, NOTHING, False
        log.open(Segment(subtask, (), NOTHING, observation, (), "policy"))
        while not over:
            reply: Utterance = yield Ask(Role.LOW, low_level.State(subtask, progress, observation))
            decision = parse_or_none(low_level.parse, reply)
            outcome: Outcome = yield Act(decision.action if decision else self._unreadable_action)
            step = new_step(observation, reply, decision, outcome, progress=progress)
            if not outcome.over:
                state = local_progress.State(subtask, progress, step.action, outcome.observation)
                step = with_progress(step, (yield Ask(Role.PROGRESS, state)))
            log.step(step)
            observation, progress, over = outcome.observation, step.progress_after, outcome.over
        log.end()

    def transitions(self, episode: Episode, verifier: SubtaskVerifier) -> list[Transition]:
        """Cut an episode into low-level and progress transitions; see :class:`~step_hrl.agents.base.Agent`."""
        found = transitions(without_hierarchy(episode), verifier)
        return [transition for transition in found if transition.role is not Role.HIGH]


class NoLocalProgressAgent:
    """Reads subtask and observation only: nothing is remembered inside a subtask."""

    def __init__(self, *, unreadable_action: str | None = None, complete_on_invalid_action: bool = False) -> None:
        """See ``config.NoLocalProgressConfig``."""
        self._unreadable_action = unreadable_action
        self._complete_on_invalid_action = complete_on_invalid_action

    @property
    def name(self) -> str:
        """``no_local_progress``."""
        return "no_local_progress"

    def play(self, task: Task, observation: Observation, log: EpisodeLog) -> Play:
        """Play one episode; see :class:`~step_hrl.agents.base.Agent`."""
        completed: tuple[str, ...] = ()
        over = False
        while not over:
            state = high_level.State(task.instruction, completed, NOTHING, observation)
            subtask = log.begin(state, (yield Ask(Role.HIGH, state)))
            if subtask is None:
                return
            subtask_done = False
            while not (subtask_done or over):
                reply: Utterance = yield Ask(Role.LOW, low_level.State(subtask, NOTHING, observation))
                decision = parse_or_none(low_level.parse, reply)
                outcome: Outcome = yield Act(decision.action if decision else self._unreadable_action)
                step = new_step(observation, reply, decision, outcome)
                log.step(step)
                observation, over = outcome.observation, outcome.over
                subtask_done = step.subtask_done and (step.is_valid_action or self._complete_on_invalid_action)
            log.end(subtask_done=subtask_done)
            completed = (*completed, subtask)

    def transitions(self, episode: Episode, verifier: SubtaskVerifier) -> list[Transition]:
        """Cut an episode into high-level and low-level transitions; see :class:`~step_hrl.agents.base.Agent`."""
        return transitions(without_local_progress(episode), verifier)
