"""How good demonstrations are as something to learn from, whatever their world. Pure."""

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
    """What a set of demonstrations amounts to.

    ``paths`` counts provenance ``path``. ``conflicts`` is, by role, the share (in [0, 1]) of distinct prompts that the
    expert answered in two ways: what no policy can learn. ``characters`` is the mean length of an utterance, by role.
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
    """Audit demonstrations task by task, in order of appearance, and all together under ``all``.

    Episodes that broke (``error``) count as episodes that failed. Empty where there are none.
    """
    tasks: dict[str, list[Episode]] = defaultdict(list)
    for episode in episodes:
        tasks[episode.task.name].append(episode)
    audits = {name: _audit(told) for name, told in tasks.items()}
    together = [episode for told in tasks.values() for episode in told]
    return {**audits, "all": _audit(together)} if together else {}


def conflicting(samples: Iterable[Transition]) -> dict[Role, dict[str, list[str]]]:
    """The prompts of each role that were answered in more than one way, with their different answers."""
    answers: dict[Role, dict[str, list[str]]] = {role: {} for role in Role}
    for sample in samples:
        said = answers[sample.role].setdefault(sample.state, [])
        if sample.utterance not in said:
            said.append(sample.utterance)
    return {role: {state: said for state, said in told.items() if len(said) > 1} for role, told in answers.items()}


def as_plain(audits: Mapping[str, Audit]) -> dict[str, Any]:
    """Audits as plain values, for JSON."""
    return {
        name: {**asdict(told), "conflicts": _by_name(told.conflicts), "characters": _by_name(told.characters)}
        for name, told in audits.items()
    }


def table(audits: Mapping[str, Audit]) -> Table:
    """Audits as a table, one line a task."""
    shown = Table(title="demonstrations", caption="conflicts: prompts that the expert answered in two ways, in %")
    shown.add_column("task", overflow="fold")
    for column in ("paths", "solved %", "actions", "conflicts " + "/".join(role.value for role in Role)):
        shown.add_column(column, justify="right")
    for name, told in audits.items():
        shown.add_row(
            name,
            str(told.episodes),
            f"{100 * told.success_share:.1f}",
            f"{told.mean_actions:.1f}",
            " / ".join(f"{100 * told.conflicts[role]:.2f}" for role in Role),
        )
    return shown


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
    return {role: len(told) / max(1, len(prompts[role])) for role, told in conflicting(samples).items()}


def _mean_characters(samples: Sequence[Transition]) -> dict[Role, float]:
    lengths: dict[Role, list[int]] = {role: [] for role in Role}
    for sample in samples:
        lengths[sample.role].append(len(sample.utterance))
    return {role: sum(told) / max(1, len(told)) for role, told in lengths.items()}
