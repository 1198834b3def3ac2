"""What demonstrations are worth as training data: solved, covered by known kinds of subtask, and unambiguous. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from step_hrl.transitions import transitions
from step_hrl.types import Episode, Role

OTHER = "other"
"""The kind of a subtask that no rule of an expert covers."""


@dataclass(frozen=True, slots=True)
class TaskAudit:
    """Figures of one task's demonstrations, or of all. Shares are in [0, 1].

    ``ambiguous`` is, per role, the share of prompts that two or more different utterances follow: what no policy that
    reads these prompts can learn.
    """

    paths: int
    solved: float
    mean_actions: float
    subtasks: int
    other_subtasks: float
    ambiguous: dict[str, float]
    paths_kept: dict[str, int]


@dataclass(frozen=True, slots=True)
class Audit:
    """Figures by task, and over all demonstrations."""

    by_task: dict[str, TaskAudit]
    overall: TaskAudit

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def audit(episodes: Sequence[Episode]) -> Audit:
    """Look at demonstrations as training data; see :class:`TaskAudit`.

    Reads ``provenance``: ``subtask_kinds`` (a comma list) and ``path`` (which of an expert's paths was kept).
    """
    tasks: dict[str, list[Episode]] = defaultdict(list)
    for episode in episodes:
        tasks[episode.task.name].append(episode)
    return Audit({name: _audit(group) for name, group in tasks.items()}, _audit(episodes))


def audit_table(report: Audit) -> Table:
    """The audit as a table, one line a task."""
    table = Table(title="demonstrations", caption="ambiguous: share of prompts with two different expert utterances")
    table.add_column("task")
    for column in ("paths", "solved %", "actions", "subtasks", "other %", *(f"ambiguous {role} %" for role in Role)):
        table.add_column(column, justify="right")
    for name, figures in [*report.by_task.items(), ("all", report.overall)]:
        table.add_row(
            name,
            str(figures.paths),
            f"{100 * figures.solved:.1f}",
            f"{figures.mean_actions:.1f}",
            str(figures.subtasks),
            f"{100 * figures.other_subtasks:.1f}",
            *(f"{100 * figures.ambiguous[role.value]:.1f}" for role in Role),
            end_section=name == list(report.by_task)[-1],
        )
    return table


def _audit(episodes: Sequence[Episode]) -> TaskAudit:
    kinds = [kind for episode in episodes for kind in _kinds(episode)]
    kept: dict[str, int] = defaultdict(int)
    for episode in episodes:
        kept[episode.provenance.get("path", "failed" if episode.error else "expert")] += 1
    return TaskAudit(
        paths=len(episodes),
        solved=_share(sum(episode.success for episode in episodes), len(episodes)),
        mean_actions=_share(sum(len(episode.steps) for episode in episodes), len(episodes)),
        subtasks=len(kinds),
        other_subtasks=_share(sum(kind == OTHER for kind in kinds), len(kinds)),
        ambiguous=_ambiguous(episodes),
        paths_kept=dict(kept),
    )


def _kinds(episode: Episode) -> list[str]:
    named = episode.provenance.get("subtask_kinds", "")
    return named.split(",") if named else []


def _ambiguous(episodes: Iterable[Episode]) -> dict[str, float]:
    """Per role, the share of prompts that are followed by two or more different utterances."""
    answers: dict[Role, dict[str, set[str]]] = {role: defaultdict(set) for role in Role}
    for episode in episodes:
        for transition in transitions(episode):
            answers[transition.role][transition.state].add(transition.utterance)
    return {
        role.value: _share(sum(len(said) > 1 for said in by_prompt.values()), len(by_prompt))
        for role, by_prompt in answers.items()
    }


def _share(part: float, whole: int) -> float:
    return part / whole if whole else 0.0
