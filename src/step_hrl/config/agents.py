"""Which agent acts: the paper's, an ablation of it, or a baseline. Each is a variant of its own, named by ``type``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

from pydantic import Discriminator, PositiveInt, Tag

from step_hrl.config.base import Section

DEFAULT_AGENT = "step_hrl"
"""The agent of a recipe that names no ``type``."""


class _Actor(Section):
    unreadable_action: str | None = None
    """The action that is sent to the environment when the low level's utterance cannot be parsed. With null the step
    is spent and the environment does nothing; the public code sends the text ``None``."""


class _SubtaskActor(_Actor):
    complete_on_invalid_action: bool = False
    """Whether ``subtask_done`` ends a subtask even when the environment rejected the action it came with, as in the
    paper and its public code. With false the subtask goes on, because nothing was done."""


class _TranscriptReader(Section):
    history_characters: PositiveInt = 4000
    """Longest transcript in a prompt, in characters; the oldest steps are dropped first."""
    history_steps: PositiveInt | None = None
    """Most steps of the transcript in a prompt; null keeps as many as ``history_characters`` holds."""


class StepHrlConfig(_SubtaskActor):
    """The paper's agent: a high level, a low level and local progress, each of which reads a single step."""

    type: Literal["step_hrl"] = "step_hrl"
    """Names the variant."""


class NoHierarchyConfig(_Actor):
    """An ablation: the paper's agent without a high level. The instruction is the only subtask, which no
    ``subtask_done`` ends."""

    type: Literal["no_hierarchy"] = "no_hierarchy"
    """Names the variant."""


class NoLocalProgressConfig(_SubtaskActor):
    """An ablation: the paper's agent without local progress."""

    type: Literal["no_local_progress"] = "no_local_progress"
    """Names the variant."""


class FlatConfig(_TranscriptReader, _Actor):
    """A baseline: one policy that reads the transcript of the whole episode."""

    type: Literal["flat"] = "flat"
    """Names the variant."""


class HistoryHrlConfig(_TranscriptReader, _SubtaskActor):
    """A baseline as in GLIDER (Hu et al. 2025): two levels, the lower of which reads the transcript of its subtask."""

    type: Literal["history_hrl"] = "history_hrl"
    """Names the variant."""


class ReactConfig(_TranscriptReader, _Actor):
    """A baseline as in ReAct (Yao et al. 2022): a prompted model that reads the transcript and reasons before it acts.
    It is never trained."""

    type: Literal["react"] = "react"
    """Names the variant."""
    instructions: str = ""
    """What the prompt says of the environment, such as its commands."""


AGENT_CONFIGS: dict[str, type[Section]] = {
    "step_hrl": StepHrlConfig,
    "no_hierarchy": NoHierarchyConfig,
    "no_local_progress": NoLocalProgressConfig,
    "flat": FlatConfig,
    "history_hrl": HistoryHrlConfig,
    "react": ReactConfig,
}
"""The section of each ``type``."""


def agent_type(value: Any) -> str | None:
    """Read the ``type`` of an agent's mapping or section; None for anything else.

    >>> agent_type({"type": "flat"}), agent_type({}), agent_type(FlatConfig()), agent_type(3)
    ('flat', 'step_hrl', 'flat', None)
    """
    if isinstance(value, Mapping):
        return str(cast("Mapping[str, Any]", value).get("type", DEFAULT_AGENT))
    return getattr(value, "type", None)


AgentConfig = Annotated[
    Annotated[StepHrlConfig, Tag("step_hrl")]
    | Annotated[NoHierarchyConfig, Tag("no_hierarchy")]
    | Annotated[NoLocalProgressConfig, Tag("no_local_progress")]
    | Annotated[FlatConfig, Tag("flat")]
    | Annotated[HistoryHrlConfig, Tag("history_hrl")]
    | Annotated[ReactConfig, Tag("react")],
    Discriminator(agent_type),
]
"""Any agent. A mapping without ``type`` is ``step_hrl``."""
