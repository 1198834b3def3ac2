"""Episodes as the report's page reads them: an index to filter, and the episodes in compressed pieces. Pure.

Prompts are rendered by the agent's own functions. To keep the page small, an episode stores each text once, and prompts
line by line.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from step_hrl.agents.base import Agent
from step_hrl.data.transitions import trust_policy
from step_hrl.errors import RecipeError
from step_hrl.training.value_estimates import ValueEstimate
from step_hrl.types import Episode, Observation, Role, Segment, Step, Transition, Usage

EstimatesByDecision = Mapping[tuple[str, str, int], ValueEstimate]
"""The critics' estimates by episode, role and number of the decision within the role, from 0."""
EPISODES_A_PIECE = 25
"""The page unpacks a whole piece to show one episode."""


def index_row(episode: Episode, source: int) -> list[Any]:
    """An episode's row in the page's list; :data:`~step_hrl.report.page.COLUMNS` names its columns."""
    steps = episode.steps
    return [
        source,
        episode.task.name,
        episode.task.variation,
        round(episode.score, 4),
        episode.ending,
        len(steps),
        sum(not step.is_valid_action for step in steps),
        sum(usage.total for usage in episode.usages.values()),
        episode.id,
    ]


def pieces(episodes: Iterable[tuple[Episode, Agent, EstimatesByDecision]]) -> Iterator[str]:
    """Yield gzipped JSON in base64 with :data:`EPISODES_A_PIECE` episodes; each comes with its agent and estimates."""
    remaining = iter(episodes)
    while batch := list(islice(remaining, EPISODES_A_PIECE)):
        content = json.dumps([payload(*each) for each in batch], separators=(",", ":"), ensure_ascii=False)
        yield base64.b64encode(gzip.compress(content.encode(), compresslevel=6, mtime=0)).decode()


def payload(episode: Episode, agent: Agent, estimates: EstimatesByDecision) -> dict[str, Any]:
    """An episode as plain JSON values; its texts are indices into ``texts``."""
    texts = _Texts()
    decisions = _Decisions(episode, agent, estimates, texts)
    segments = [_segment(segment, texts, decisions) for segment in episode.segments]
    return {
        "id": episode.id,
        "instruction": episode.task.instruction,
        "score": episode.score,
        "ending": episode.ending,
        "error": episode.error,
        "provenance": dict(episode.provenance),
        "segments": segments,
        "texts": texts.all,
    }


class _Texts:
    """Distinct texts in order of their first use."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self._indices: dict[str, int] = {}

    def index(self, text: str) -> int:
        index = self._indices.setdefault(text, len(self.all))
        if index == len(self.all):
            self.all.append(text)
        return index

    def index_or_none(self, text: str | None) -> int | None:
        return None if text is None else self.index(text)

    def indices(self, observation: Observation) -> list[int | None]:
        return [self.index_or_none(text) for text in (observation.text, observation.look, observation.inventory)]


class _Decisions:
    """The prompts and replies of an episode's decisions, in order for each role."""

    def __init__(self, episode: Episode, agent: Agent, estimates: EstimatesByDecision, texts: _Texts) -> None:
        try:
            transitions: Sequence[Transition] = agent.transitions(episode, trust_policy)
        except RecipeError:  # the prompts of a prompted agent are not shown
            transitions = ()
        self._texts = texts
        self._episode_id = episode.id
        self._estimates = estimates
        self._counts: Counter[Role] = Counter()
        self._remaining = {role: iter([each for each in transitions if each.role is role]) for role in Role}

    def next(self, role: Role, usage: Usage | None) -> dict[str, Any] | None:
        """Prompt, reply, tokens and estimates of a role's next decision; None if it is not known."""
        transition = next(self._remaining[role], None)
        if transition is None:
            return None
        lines = [self._texts.index(line) for line in transition.state.split("\n")]
        decision: dict[str, Any] = {"prompt": lines, "reply": self._texts.index(transition.utterance)}
        if usage is not None:
            decision["tokens"] = [usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens]
        estimate = self._estimates.get((self._episode_id, role.value, self._counts[role]))
        if estimate is not None:
            values = (estimate.value, estimate.q, estimate.q - estimate.value)
            decision["values"] = [round(value, 3) for value in values]
        self._counts[role] += 1
        return decision


def _segment(segment: Segment, texts: _Texts, decisions: _Decisions) -> dict[str, Any]:
    content: dict[str, Any] = {
        "subtask": texts.index(segment.subtask),
        "ended_by": segment.ended_by,
        "unreadable": segment.unreadable,
        "noise": segment.is_noise,
        "high": decisions.next(Role.HIGH, segment.usage),
    }
    return _known({**content, "steps": [_step(step, texts, decisions) for step in segment.steps]})


def _step(step: Step, texts: _Texts, decisions: _Decisions) -> dict[str, Any]:
    content: dict[str, Any] = {
        "observation": texts.indices(step.observation),
        "next_observation": texts.indices(step.next_observation),
        "progress": texts.index(step.local_progress),
        "next_progress": texts.index_or_none(step.next_local_progress),
        "action": texts.index(step.action),
        "unreadable": step.unreadable,
        "progress_unreadable": step.progress_unreadable,
        "dropped": step.dropped,
        "low": decisions.next(Role.LOW, step.usages.get(Role.LOW)),
    }
    if step.next_local_progress is not None:
        content["progress_update"] = decisions.next(Role.PROGRESS, step.usages.get(Role.PROGRESS))
    flags = {"subtask_done": step.subtask_done, "invalid": not step.is_valid_action, "noise": step.is_noise}
    content |= {name: 1 for name, is_set in flags.items() if is_set}
    if step.reward:
        content["reward"] = round(step.reward, 4)
    return _known(content)


def _known(content: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in content.items() if value is not None}
