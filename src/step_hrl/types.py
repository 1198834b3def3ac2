"""Core types: everything that happens in an environment is an :class:`Episode`; training reads :class:`Transition`.

All are frozen. Policies read and write text; scores and returns are in [0, 1] unless a docstring says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Literal, Protocol

SCHEMA_VERSION = 2
"""Version of the episode format; raised whenever a field changes name or meaning."""

NOTHING = "None"
"""Text of an empty progress or an empty list of subtasks in a prompt (the paper's p_0 and G_1)."""

EndedBy = Literal["policy", "episode", "limit", "unreadable"]
"""Why a segment ended: low level's flag, end of the episode, limit on episode length, or unreadable subtask."""


class Role(str, Enum):
    """The three policies that share one backbone (paper, section 3: pi_h, pi_l, pi_p)."""

    HIGH = "high"
    LOW = "low"
    PROGRESS = "progress"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one or more decisions, as counted by the tokenizer.

    ``prompt_tokens`` includes the ``cached_tokens``: tokens that a prompt shares from its start with the episode's last
    prompt, whose keys and values are known; tokens of prompts that are repeated within an episode and answered from a
    cache; or tokens that a server reports as cached.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.cached_tokens + other.cached_tokens,
            self.completion_tokens + other.completion_tokens,
        )

    @property
    def total(self) -> int:
        """Prompt plus completion tokens."""
        return self.prompt_tokens + self.completion_tokens


class State(Protocol):
    """What a role reads at one step; see ``step_hrl.prompts`` for the state of each role."""

    @property
    def prompt(self) -> str:
        """The text a language model reads."""
        ...


@dataclass(frozen=True, slots=True)
class Utterance:
    """An engine's answer to an :class:`Ask`: one line of text and the tokens it cost.

    ``is_noise`` marks a mistake that was injected in place of the answer; it is excluded from behavior cloning.
    """

    text: str
    usage: Usage = Usage()
    is_noise: bool = False


@dataclass(frozen=True, slots=True)
class Task:
    """One variation of one task of a world. ``instruction`` is empty until an environment has been reset to it."""

    env: str
    name: str
    variation: int
    split: str
    instruction: str = ""

    @property
    def key(self) -> str:
        """A short unique name, such as ``boil:3``."""
        return f"{self.name}:{self.variation}"


def episode_id(task: Task, seed: int, repeat: int = 0) -> str:
    """Derive an episode's id from its task, seed and repeat, so that a resumed run recognizes it.

    >>> episode_id(Task("pantry", "fetch", 3, "dev"), seed=7)
    'pantry/dev/fetch:3/seed7.0'
    """
    return f"{task.env}/{task.split}/{task.key}/seed{seed}.{repeat}"


@dataclass(frozen=True, slots=True)
class Job:
    """One episode to play. ``repeat`` distinguishes episodes of the same task and seed."""

    task: Task
    seed: int = 0
    repeat: int = 0

    @property
    def id(self) -> str:
        """The episode's id; a resumed run skips ids that are already recorded."""
        return episode_id(self.task, self.seed, self.repeat)


@dataclass(frozen=True)
class Ask:
    """A request for one decision: the role that decides and the state it decides from.

    The rollout sets the other fields. ``seed`` seeds the sampling of this reply only, so that replies do not depend on
    the rest of the batch. ``job`` is the episode, ``number`` counts its asks from 1. ``is_repeat`` is True where the
    role has read the same prompt earlier in the episode.
    """

    role: Role
    state: State
    seed: int = 0
    job: Job | None = None
    number: int = 0
    is_repeat: bool = False

    @cached_property
    def prompt(self) -> str:
        """The text a language model reads."""
        return self.state.prompt


@dataclass(frozen=True, slots=True)
class Observation:
    """What a role observes at one time step.

    ``text`` is the environment's answer to the last action; ``look`` and ``inventory`` describe the surroundings (None
    where the world offers no description). ``unabridged`` is the complete answer where ``text`` omits what ``look``
    contains; transcripts use it, because they do not keep earlier looks.
    """

    text: str
    look: str | None = None
    inventory: str | None = None
    unabridged: str | None = None

    @property
    def full_text(self) -> str:
        """The complete answer to the last action."""
        return self.text if self.unabridged is None else self.unabridged


@dataclass(frozen=True, slots=True)
class Act:
    """A request to execute an action. None stands for an unreadable reply: it counts as a step but executes nothing."""

    action: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The environment's answer to an :class:`Act`. ``reward`` is the change of the score, in [-1, 1]."""

    observation: Observation
    reward: float
    terminated: bool
    truncated: bool
    is_valid_action: bool

    @property
    def over(self) -> bool:
        """Whether the episode has ended, terminated or truncated."""
        return self.terminated or self.truncated


@dataclass(frozen=True, slots=True)
class Step:
    """One low-level decision and its outcome (o_t, p_t, a_t, flag, r_t, o_(t+1), p_(t+1)).

    ``next_local_progress`` is None after the last step of an episode, which no progress update follows.
    ``subtask_done`` is the low level's flag; ``Segment.ended_by`` tells whether the subtask ended.
    ``action`` is empty when the low level's reply could not be parsed; ``unreadable`` then holds the reply.
    ``progress_unreadable`` holds a progress reply that could not be parsed (the previous progress is then kept).
    ``is_valid_action`` is False for an unreadable reply and for an action that the environment did not recognize.
    ``dropped`` is the number of oldest steps omitted from the prompt of an agent that reads a transcript.
    ``is_noise`` marks an injected mistake, which is not the policy's own choice; the steps after it demonstrate the
    recovery.
    """

    observation: Observation
    local_progress: str
    action: str
    subtask_done: bool
    reward: float
    next_observation: Observation
    next_local_progress: str | None
    is_valid_action: bool = True
    terminated: bool = False
    truncated: bool = False
    unreadable: str | None = None
    progress_unreadable: str | None = None
    is_noise: bool = False
    dropped: int | None = None
    usages: Mapping[Role, Usage] = field(default_factory=dict[Role, Usage])

    @property
    def progress_after(self) -> str:
        """The local progress after this step: the updated one, or the previous one where there was no update."""
        return self.local_progress if self.next_local_progress is None else self.next_local_progress


@dataclass(frozen=True, slots=True)
class Segment:
    """One subtask g_k and the steps taken for it.

    ``first_observation`` is o^k_0, which the high level read when it named the subtask. ``unreadable`` holds the high
    level's reply when it could not be parsed; the segment then has no subtask and no steps. ``is_noise`` marks an
    injected wrong subtask; its steps demonstrate how to abandon it.
    """

    subtask: str
    completed_subtasks: tuple[str, ...]
    previous_final_progress: str
    first_observation: Observation
    steps: tuple[Step, ...]
    ended_by: EndedBy
    unreadable: str | None = None
    usage: Usage = Usage()
    is_noise: bool | None = None

    @property
    def reward(self) -> float:
        """Sum of the environment's rewards inside the subtask: the high level's reward."""
        return sum((step.reward for step in self.steps), 0.0)

    @property
    def duration(self) -> int:
        """Number of actions taken in the subtask."""
        return len(self.steps)

    @property
    def final_progress(self) -> str:
        """The last progress text of the subtask (p^_k); the text ``None`` where there are no steps."""
        return self.steps[-1].progress_after if self.steps else NOTHING


@dataclass(frozen=True, slots=True)
class Episode:
    """One episode of one task: a demonstration, a collected rollout or an evaluation.

    ``score`` is the environment's final score in [0, 1]; ``seed`` seeds the environment and the sampling;
    ``provenance`` records agent, model, expert and versions; ``error`` the failure that interrupted it, if any.
    """

    id: str
    task: Task
    segments: tuple[Segment, ...]
    score: float
    success: bool
    seed: int = 0
    provenance: Mapping[str, str] = field(default_factory=dict[str, str])
    error: str | None = None
    schema_version: int = SCHEMA_VERSION

    @property
    def ending(self) -> Literal["success", "failure", "limit", "unreadable", "error"]:
        """How it ended: solved, terminated unsolved, truncated at the limit, by an unreadable reply, or by an error."""
        if self.error is not None:
            return "error"
        if self.success:
            return "success"
        if self.segments and self.segments[-1].ended_by == "unreadable":
            return "unreadable"
        return "limit" if self.steps and self.steps[-1].truncated else "failure"

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps of all segments, in order."""
        return tuple(step for segment in self.segments for step in segment.steps)

    @property
    def total_reward(self) -> float:
        """The episode's return: the sum of the environment's rewards."""
        return sum((step.reward for step in self.steps), 0.0)

    @property
    def usages(self) -> dict[Role, Usage]:
        """Tokens used, by role."""
        totals: dict[Role, Usage] = {}
        for segment in self.segments:
            totals[Role.HIGH] = totals.get(Role.HIGH, Usage()) + segment.usage
            for step in segment.steps:
                for role, usage in step.usages.items():
                    totals[role] = totals.get(role, Usage()) + usage
        return totals


@dataclass(frozen=True, slots=True)
class Transition:
    """One augmented step-level transition of one role (paper, section 3.2).

    ``state`` and ``next_state`` are rendered prompts; ``utterance`` is the policy's text. ``duration`` counts the
    environment steps until ``next_state`` (more than 1 only for the high level). ``next_state`` is None only where
    no state can follow; ``terminated`` transitions never bootstrap, truncated ones do. ``clone_mask`` is False for an
    injected mistake, which behavior cloning excludes.
    """

    role: Role
    state: str
    utterance: str
    reward: float
    next_state: str | None
    terminated: bool
    duration: int
    episode_id: str
    task: str
    clone_mask: bool = True
