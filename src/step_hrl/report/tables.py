"""A comparison as a table for the terminal and as Markdown. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rich.markup import escape
from rich.table import Table

from step_hrl.evaluation import Interval
from step_hrl.report.comparison import Compared


def terminal(agents: Mapping[str, Compared], title: str) -> Table:
    """One row an agent, scores in [0, 100], with the columns that fit into 80 characters."""
    shown = Table(title=title, title_justify="left")
    for label, style in _TERMINAL_COLUMNS.items():
        shown.add_column(label, **style)
    for name, compared in agents.items():
        shown.add_row(*(escape(cell(name, compared)) for label, cell in _COLUMNS if label in _TERMINAL_COLUMNS))
    return shown


def markdown(agents: Mapping[str, Compared]) -> str:
    """All columns as a Markdown table."""
    rows = [[cell(name, compared) for _, cell in _COLUMNS] for name, compared in agents.items()]
    lines = [[label for label, _ in _COLUMNS], ["---"] * len(_COLUMNS), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def markdown_by_task(agents: Mapping[str, Compared], lengths: Mapping[str, float]) -> str:
    """Score and thousands of tokens per episode, from the task with the fewest actions of the expert to the most."""
    lines = [["task", "expert's actions", *agents], ["---"] * (2 + len(agents))]
    for task in sorted(lengths, key=lambda name: (lengths[name], name)):
        cells = [
            f"{100 * figures.score:.1f} / {figures.tokens_per_episode / 1000:.1f}k"
            for figures in (compared.by_task[task] for compared in agents.values())
        ]
        lines.append([task, f"{lengths[task]:.1f}", *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _with_interval(value: float, interval: Interval, sign: str = "") -> str:
    return f"{100 * value:{sign}.1f} ({100 * interval.low:{sign}.1f} to {100 * interval.high:{sign}.1f})"


def _or_dash(value: float | None, unit: float) -> str:
    return "-" if value is None else f"{value / unit:.3g}"


def _difference(compared: Compared) -> str:
    is_reference = compared.difference_interval == Interval(0.0, 0.0)
    return "-" if is_reference else _with_interval(compared.difference, compared.difference_interval, "+")


_COLUMNS: tuple[tuple[str, Callable[[str, Compared], str]], ...] = (
    ("agent", lambda name, c: name),
    ("episodes", lambda name, c: str(c.episodes)),
    ("score", lambda name, c: _with_interval(c.score, c.score_interval)),
    ("difference", lambda name, c: _difference(c)),
    ("success, %", lambda name, c: f"{100 * c.success_rate:.1f}"),
    ("failed, %", lambda name, c: f"{100 * c.failure_rate:.1f}"),
    ("actions", lambda name, c: f"{c.actions:.1f}"),
    ("tokens per action", lambda name, c: f"{c.tokens_per_action:.0f}"),
    ("tokens per episode", lambda name, c: f"{c.tokens_per_episode:.0f}"),
    ("longest prompt", lambda name, c: str(c.longest_prompt_tokens)),
    ("truncated prompts, %", lambda name, c: f"{100 * c.cut_share:.1f}"),
    ("10^9 multiply-adds", lambda name, c: _or_dash(c.multiply_adds_per_episode, 1e9)),
    ("price per episode", lambda name, c: _or_dash(c.price_per_episode, 1.0)),
    ("training, 10^6 tokens", lambda name, c: _or_dash(c.training_tokens, 1e6)),
    ("training, min", lambda name, c: _or_dash(c.wall_time and c.wall_time.training, 60.0)),
    ("playing, s per episode", lambda name, c: _or_dash(c.wall_time and c.wall_time.playing, 1.0)),
)
_TERMINAL_COLUMNS: dict[str, dict[str, Any]] = {
    "agent": {"overflow": "fold"},
    "score": {"justify": "right", "no_wrap": True},
    "difference": {"justify": "right", "no_wrap": True},
    "tokens per episode": {"justify": "right", "max_width": 8},
}
