"""Statistics on the quality of demonstrations as training data, for any world. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from step_hrl.data.transitions import transitions
from step_hrl.types import Episode, Role, Transition


@dataclass(frozen=True)
class Audit:
    """Statistics of a set of demonstrations.

    ``paths`` counts the values of provenance ``path``. ``conflicts`` is, by role, the share (in [0, 1]) of distinct
    prompts with more than one answer, which no policy can learn. ``characters`` is the mean length of an utterance, by
    role.
    """

    episodes: int
    success_share: float
    mean_score: float
    mean_actions: float
    most_actions: int
    paths: Mapping[str, int]
    conflicts: Mapping[Role, float]
    characters: Mapping[Role, float]


def audit(episodes: Iterable[Episode]) -> dict[str, Audit]:
    """Audit demonstrations per task, in order of appearance, and all together under ``all``.

    Episodes with an error count as failures. Empty where there are no episodes.
    """
    tasks: dict[str, list[Episode]] = defaultdict(list)
    for episode in episodes:
        tasks[episode.task.name].append(episode)
    audits = {name: _audit(group) for name, group in tasks.items()}
    everything = [episode for group in tasks.values() for episode in group]
    return {**audits, "all": _audit(everything)} if everything else {}


def conflicting(samples: Iterable[Transition]) -> dict[Role, dict[str, list[str]]]:
    """The prompts of each role that have more than one answer, with their distinct answers."""
    answers: dict[Role, dict[str, list[str]]] = {role: {} for role in Role}
    for sample in samples:
        texts = answers[sample.role].setdefault(sample.state, [])
        if sample.utterance not in texts:
            texts.append(sample.utterance)
    return {
        role: {state: texts for state, texts in by_state.items() if len(texts) > 1}
        for role, by_state in answers.items()
    }


def as_plain(audits: Mapping[str, Audit]) -> dict[str, Any]:
    """Audits as plain values, for JSON."""
    return {
        name: {**asdict(entry), "conflicts": _by_name(entry.conflicts), "characters": _by_name(entry.characters)}
        for name, entry in audits.items()
    }


def table(audits: Mapping[str, Audit]) -> Table:
    """Audits as a table with one row per task."""
    result = Table(title="demonstrations", caption="conflicts: prompts with more than one answer, in %")
    result.add_column("task", overflow="fold")
    for column in ("paths", "solved %", "actions", "conflicts " + "/".join(role.value for role in Role)):
        result.add_column(column, justify="right")
    for name, entry in audits.items():
        result.add_row(
            name,
            str(entry.episodes),
            f"{100 * entry.success_share:.1f}",
            f"{entry.mean_actions:.1f}",
            " / ".join(f"{100 * entry.conflicts[role]:.2f}" for role in Role),
        )
    return result


def _by_name(figures: Mapping[Role, float]) -> dict[str, float]:
    return {role.value: figure for role, figure in figures.items()}


def _audit(episodes: Sequence[Episode]) -> Audit:
    samples = [sample for episode in episodes for sample in transitions(episode) if sample.clone_mask]
    actions = [len(episode.steps) for episode in episodes]
    count = len(episodes)
    return Audit(
        episodes=count,
        success_share=sum(episode.success for episode in episodes) / count,
        mean_score=sum(episode.score for episode in episodes) / count,
        mean_actions=sum(actions) / count,
        most_actions=max(actions),
        paths=dict(Counter(episode.provenance.get("path", "unknown") for episode in episodes)),
        conflicts=_conflict_shares(samples),
        characters=_mean_characters(samples),
    )


def _conflict_shares(samples: Sequence[Transition]) -> dict[Role, float]:
    prompts: dict[Role, set[str]] = {role: set() for role in Role}
    for sample in samples:
        prompts[sample.role].add(sample.state)
    return {role: len(states) / max(1, len(prompts[role])) for role, states in conflicting(samples).items()}


def _mean_characters(samples: Sequence[Transition]) -> dict[Role, float]:
    lengths: dict[Role, list[int]] = {role: [] for role in Role}
    for sample in samples:
        lengths[sample.role].append(len(sample.utterance))
    return {role: sum(values) / max(1, len(values)) for role, values in lengths.items()}
