"""The words everything is said in: what happens in a world is an :class:`Episode`; training reads :class:`Transition`.

All are frozen. Text is what policies read and write; scores and returns are in [0, 1] unless a docstring says so.
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
"""How an empty progress or an empty list of subtasks is written in a prompt (the paper's p_0 and G_1)."""

EndedBy = Literal["policy", "episode", "limit", "unreadable"]
"""Why a segment ended: the low level said so, the world ended, the limit was hit, or its subtask was unreadable."""


class Role(str, Enum):
    """The three policies that share one backbone (paper, section 3: pi_h, pi_l, pi_p)."""

    HIGH = "high"
    LOW = "low"
    PROGRESS = "progress"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one or more decisions, as the tokenizer counted them.

    ``prompt_tokens`` includes the ``cached_tokens``: those of prompts that the same episode has read before and that
    were answered from memory, or those that a server says it kept.
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

    ``is_noise`` marks an answer that was replaced by a mistake on purpose; it is never cloned.
    """

    text: str
    usage: Usage = Usage()
    is_noise: bool = False


@dataclass(frozen=True, slots=True)
class Task:
    """One thing to do in one world. ``instruction`` is empty until the world has been reset on it."""

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
    """Name an episode by what was asked for, so that the same request finds the same episode after a restart.

    >>> episode_id(Task("pantry", "fetch", 3, "dev"), seed=7)
    'pantry/dev/fetch:3/seed7.0'
    """
    return f"{task.env}/{task.split}/{task.key}/seed{seed}.{repeat}"


@dataclass(frozen=True, slots=True)
class Job:
    """One episode to play. ``repeat`` tells several episodes of the same task and seed apart."""

    task: Task
    seed: int = 0
    repeat: int = 0

    @property
    def id(self) -> str:
        """The episode's id, by which a resumed run knows what is done."""
        return episode_id(self.task, self.seed, self.repeat)


@dataclass(frozen=True)
class Ask:
    """One decision that an agent asks for: the role that decides and the state it decides from.

    The rollout adds the rest. ``seed`` seeds the sampling of this reply alone, so that replies do not depend on what
    else is in the batch. ``job`` is the episode, ``number`` counts its asks from 1. ``is_repeat`` says that the role
    has read this prompt before in the same episode.
    """

    role: Role
    state: State
    seed: int = 0
    job: Job | None = None
    number: int = 0
    is_repeat: bool = False

    @cached_property
    def prompt(self) -> str:
        """The state as a language model reads it."""
        return self.state.prompt


@dataclass(frozen=True, slots=True)
class Observation:
    """What a role may read of the world at one instant.

    ``text`` answers the last action; ``look`` and ``inventory`` describe the surroundings, where the world can tell.
    ``unabridged`` is the whole answer where ``text`` leaves out what ``look`` says: for who reads no look later.
    """

    text: str
    look: str | None = None
    inventory: str | None = None
    unabridged: str | None = None

    @property
    def full_text(self) -> str:
        """The whole answer to the last action."""
        return self.text if self.unabridged is None else self.unabridged


@dataclass(frozen=True, slots=True)
class Act:
    """What an agent wants done in its world. None lets an unreadable reply pass: it counts, but nothing is done."""

    action: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the world answered to an :class:`Act`. ``reward`` is the change of the score, in [-1, 1]."""

    observation: Observation
    reward: float
    terminated: bool
    truncated: bool
    is_valid_action: bool

    @property
    def over(self) -> bool:
        """Whether the episode has ended, for whatever reason."""
        return self.terminated or self.truncated


@dataclass(frozen=True, slots=True)
class Step:
    """One low-level decision and what came of it (o_t, p_t, a_t, flag, r_t, o_(t+1), p_(t+1)).

    ``next_local_progress`` is None after the last step of an episode: no progress update follows it.
    ``subtask_done`` is what the low level said; whether the subtask did end is told by its :class:`Segment`.
    ``action`` is empty when the low level's reply could not be parsed; ``unreadable`` then holds that reply.
    ``progress_unreadable`` holds a progress reply that could not be parsed (the previous progress is then kept).
    ``is_valid_action`` is False for an unreadable reply and for an action the world did not understand.
    ``dropped`` is how many of the oldest steps the prompt left out, of an agent that reads a transcript.
    ``is_noise`` marks an action that was not the actor's own choice: a mistake put into a demonstration to show the
    way back from it.
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
    level's reply when it could not be parsed; the segment then has no subtask and no steps. ``is_noise`` marks a
    subtask named by mistake, put into a demonstration to show how it is given up.
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
        """Number of actions the subtask took."""
        return len(self.steps)

    @property
    def final_progress(self) -> str:
        """The last progress text that was written inside the subtask (p^_k), or ``None`` as text."""
        return self.steps[-1].progress_after if self.steps else NOTHING


@dataclass(frozen=True, slots=True)
class Episode:
    """Everything that happened in one world on one task: a demonstration, a collected rollout or an evaluation.

    ``score`` is the world's own final score in [0, 1]; ``seed`` the seed the world and the sampling were given;
    ``provenance`` says who acted (agent, model, expert, versions); ``error`` what broke, if something did.
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
        """How it ended: solved, ended unsolved by the world, cut at the action limit, by a reply, or broken."""
        if self.error is not None:
            return "error"
        if self.success:
            return "success"
        if self.segments and self.segments[-1].ended_by == "unreadable":
            return "unreadable"
        return "limit" if self.steps and self.steps[-1].truncated else "failure"

    @property
    def steps(self) -> tuple[Step, ...]:
        """All steps in order, whatever their subtask."""
        return tuple(step for segment in self.segments for step in segment.steps)

    @property
    def total_reward(self) -> float:
        """The episode's return: the sum of the environment's rewards."""
        return sum((step.reward for step in self.steps), 0.0)

    @property
    def usages(self) -> dict[Role, Usage]:
        """Tokens spent, by role."""
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

    ``state`` and ``next_state`` are rendered prompts; ``utterance`` is what the policy said. ``duration`` counts the
    environment steps until ``next_state`` (more than 1 only for the high level). ``next_state`` is None only where
    nothing could follow; ``terminated`` transitions never bootstrap, truncated ones do. ``clone_mask`` is False for an
    utterance that nobody should clone: a mistake put into a demonstration.
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
