"""Episodes as the report's page reads them: an index to filter, and whole episodes in compressed pieces. Pure.

Prompts are those the agent read, rendered by its own functions. Every text is kept once an episode, prompts line by
line, so that they cost little.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from step_hrl.agents.base import Agent
from step_hrl.data.transitions import trust_policy
from step_hrl.errors import RecipeError
from step_hrl.training.value_estimates import ValueEstimate
from step_hrl.types import Episode, Observation, Role, Segment, Step, Transition, Usage

EstimatesByDecision = Mapping[tuple[str, str, int], ValueEstimate]
"""What critics say of a decision: by episode, role and number within the role, from 0."""
EPISODES_A_PIECE = 25
"""The page unpacks as many at once to show one of them."""


def index_row(episode: Episode, source: int) -> list[Any]:
    """What the page's list shows of an episode: source, task, variation, score, ending, actions, refused, tokens."""
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
    """Episodes as gzipped JSON in base64, some to a piece, each with its agent and value estimates."""
    left = iter(episodes)
    while some := list(islice(left, EPISODES_A_PIECE)):
        content = json.dumps([payload(*each) for each in some], separators=(",", ":"), ensure_ascii=False)
        yield base64.b64encode(gzip.compress(content.encode(), compresslevel=6, mtime=0)).decode()


def payload(episode: Episode, agent: Agent, judged: EstimatesByDecision) -> dict[str, Any]:
    """A whole episode as plain JSON values; texts are places in ``texts``."""
    texts = _Texts()
    read = _Read(episode, agent, judged, texts)
    segments = [_segment(segment, texts, read) for segment in episode.segments]
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
    """Texts by the place they were first put at."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self._places: dict[str, int] = {}

    def put(self, text: str) -> int:
        place = self._places.setdefault(text, len(self.all))
        if place == len(self.all):
            self.all.append(text)
        return place

    def put_all(self, observation: Observation) -> list[int | None]:
        parts = (observation.text, observation.look, observation.inventory)
        return [None if part is None else self.put(part) for part in parts]


class _Read:
    """The prompts and replies of an episode's decisions, role by role in order."""

    def __init__(self, episode: Episode, agent: Agent, judged: EstimatesByDecision, texts: _Texts) -> None:
        try:
            cut: Sequence[Transition] = agent.transitions(episode, trust_policy)
        except RecipeError:  # a prompted agent's prompts are its own business
            cut = ()
        self._texts = texts
        self._episode_id = episode.id
        self._judged = judged
        self._asked: Counter[Role] = Counter()
        self._left = {role: iter([each for each in cut if each.role is role]) for role in Role}

    def next(self, role: Role, usage: Usage | None) -> dict[str, Any] | None:
        """What a role read and said at its next decision; None where that is not known."""
        transition = next(self._left[role], None)
        if transition is None:
            return None
        lines = [self._texts.put(line) for line in transition.state.split("\n")]
        told: dict[str, Any] = {"prompt": lines, "reply": self._texts.put(transition.utterance)}
        if usage is not None:
            told["tokens"] = [usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens]
        said = self._judged.get((self._episode_id, role.value, self._asked[role]))
        if said is not None:
            told["judged"] = [round(value, 3) for value in (said.value, said.q, said.q - said.value)]
        self._asked[role] += 1
        return told


def _segment(segment: Segment, texts: _Texts, read: _Read) -> dict[str, Any]:
    content: dict[str, Any] = {
        "subtask": texts.put(segment.subtask),
        "ended": segment.ended_by,
        "unreadable": segment.unreadable,
        "noise": segment.is_noise,
        "high": read.next(Role.HIGH, segment.usage),
    }
    return _known({**content, "steps": [_step(step, texts, read) for step in segment.steps]})


def _step(step: Step, texts: _Texts, read: _Read) -> dict[str, Any]:
    def put(text: str | None) -> int | None:
        return None if text is None else texts.put(text)

    content: dict[str, Any] = {
        "seen": texts.put_all(step.observation),
        "after": texts.put_all(step.next_observation),
        "progress": texts.put(step.local_progress),
        "next": put(step.next_local_progress),
        "action": texts.put(step.action),
        "unreadable": step.unreadable,
        "unread_progress": step.progress_unreadable,
        "dropped": step.dropped,
        "low": read.next(Role.LOW, step.usages.get(Role.LOW)),
    }
    if step.next_local_progress is not None:
        content["prog"] = read.next(Role.PROGRESS, step.usages.get(Role.PROGRESS))
    flags: dict[str, Callable[[Step], bool]] = {
        "done": lambda s: s.subtask_done,
        "refused": lambda s: not s.is_valid_action,
        "noise": lambda s: s.is_noise,
    }
    content |= {name: 1 for name, holds in flags.items() if holds(step)}
    if step.reward:
        content["reward"] = round(step.reward, 4)
    return _known(content)


def _known(content: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in content.items() if value is not None}
