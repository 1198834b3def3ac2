"""Charts of a run, each as a table and as an SVG plot in the page's light or dark colors. Plots need matplotlib."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from statistics import fmean as mean
from typing import Any

from step_hrl.evaluation import Summary
from step_hrl.prompts.text import clip
from step_hrl.report import plots
from step_hrl.training.value_estimates import ValueEstimate, rank_correlations
from step_hrl.types import Episode, Role

SERIES = 6
"""Number of colors that the page defines as CSS variables ``--series-1`` and so on; further series repeat them."""
_STYLES = ("-", "--", "-.", ":")
_MARKERS = "osD^vP"
_INK, _FRAME, _NEUTRAL = "#0000f0", "#0000f1", "#0000f2"
"""Placeholders that :func:`_themed` replaces by the page's colors."""
_BINS = 10
_LABEL_CHARACTERS = 40
_MAX_ACTIONS = 12


@dataclass(frozen=True)
class Chart:
    """A figure as a table and as an SVG element (None if matplotlib is not installed)."""

    title: str
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    svg: str | None


Series = Mapping[str, Sequence[tuple[float, float]]]
"""Points by the name of their series."""


def learning(stage: str, lines: Sequence[Mapping[str, float]], prefix: str, title: str) -> Chart | None:
    """Metrics of a training stage whose names start with a prefix, by update; None if there are none."""
    names = sorted({name for line in lines for name in line if name.startswith(prefix)})
    series = {
        name.removeprefix("validation/"): [(line["update"], line[name]) for line in lines if name in line]
        for name in names
    }
    if not series:
        return None
    updates = sorted({x for points in series.values() for x, _ in points})
    by_update = {name: dict(points) for name, points in series.items()}
    rows = [(f"{x:g}", *(_number(by_update[name].get(x)) for name in series)) for x in _thinned(updates)]
    caption = f"{stage}: {title.lower()} by update"
    return _chart(title, caption, ("update", *series), rows, partial(_lines, series, "update", title.lower()))


def scores(summaries: Mapping[str, Summary]) -> Chart:
    """Mean score out of 100 by task with its 95% interval, one series an evaluation."""
    tasks = sorted({task for summary in summaries.values() for task in summary.by_task})
    rows = [
        (task, *(_score(summary, task) for summary in summaries.values()))
        for task in (*tasks, "mean over episodes", "mean over tasks")
    ]
    caption = "mean score out of 100 with its 95% bootstrap interval, by task"
    return _chart("Score by task", caption, ("task", *summaries), rows, partial(_score_bars, tasks, summaries))


def prompt_tokens(episodes: Sequence[Episode], name: str) -> Chart:
    """Mean prompt tokens of each role by step of the episode."""
    by_role = {role.value: _means([_prompts(episode, role) for episode in episodes]) for role in Role}
    series = {role: points for role, points in by_role.items() if points}
    steps = sorted({step for points in series.values() for step, _ in points})
    by_step = {role: dict(points) for role, points in series.items()}
    rows = [
        (f"{step:g}", *(f"{by_step[role][step]:.0f}" if step in by_step[role] else "" for role in series))
        for step in steps
    ]
    caption = f"{name}: mean tokens of each role's prompt at each action (high level: where it names a subtask)"
    draw = partial(_lines, series, "action of the episode", "prompt tokens")
    return _chart("Prompt tokens by step", caption, ("action", *series), rows, draw)


def lengths(evaluations: Mapping[str, Sequence[Episode]]) -> Chart:
    """Histogram of episode lengths."""
    longest = max((len(e.steps) for episodes in evaluations.values() for e in episodes), default=0)
    width = max(1, -(-longest // 12))
    starts = range(0, longest + 1, width)
    counts = {
        name: Counter(len(episode.steps) // width for episode in episodes) for name, episodes in evaluations.items()
    }
    rows = [
        (f"{start} to {start + width - 1}", *(str(count[start // width]) for count in counts.values()))
        for start in starts
    ]
    series = {
        name: [(start + (width - 1) / 2, float(count[start // width])) for start in starts]
        for name, count in counts.items()
    }
    draw = partial(_lines, series, "actions", "episodes")
    return _chart("Episode length", "number of episodes by number of actions", ("actions", *counts), rows, draw)


def endings(evaluations: Mapping[str, Sequence[Episode]]) -> Chart:
    """Share of episodes by ending, in percent."""
    counts = {name: Counter(e.ending for e in episodes) for name, episodes in evaluations.items()}
    shares = {
        name: [100 * count[ending] / max(1, count.total()) for ending in _ENDINGS] for name, count in counts.items()
    }
    rows = [(ending, *(f"{shares[name][n]:.1f}" for name in shares)) for n, ending in enumerate(_ENDINGS)]
    caption = "share of episodes in percent: solved, ended unsolved, truncated, ended by an unreadable reply, or failed"
    return _chart("How episodes ended", caption, ("ending", *shares), rows, partial(_ending_bars, shares))


def refusals(evaluations: Mapping[str, Sequence[Episode]]) -> Chart:
    """First words of the most frequent invalid action in each unsolved episode."""
    counts = {
        name: Counter(_invalid_word(e) for e in episodes if not e.success) for name, episodes in evaluations.items()
    }
    actions = [action for action, _ in sum(counts.values(), Counter[str]()).most_common(_MAX_ACTIONS)]
    rows = [(action, *(str(count[action]) for count in counts.values())) for action in actions]
    caption = "unsolved episodes by the first word of their most frequent invalid action"
    return _chart("Invalid actions", caption, ("action", *counts), rows, partial(_count_bars, actions, counts))


def calibration(stage: str, value_estimates: Sequence[ValueEstimate]) -> Chart:
    """The return to go against V(s), by role, in bins of equally many decisions."""
    correlations = rank_correlations(value_estimates)
    series: dict[str, list[tuple[float, float]]] = {}
    for role in dict.fromkeys(estimate.role for estimate in value_estimates):
        pairs = sorted((estimate.value, estimate.return_to_go) for estimate in value_estimates if estimate.role == role)
        size = -(-len(pairs) // _BINS)
        bins = [pairs[start : start + size] for start in range(0, len(pairs), size)]
        label = f"{role} (rank correlation {correlations[role]:.2f})" if role in correlations else role
        series[label] = [(mean(v for v, _ in chunk), mean(r for _, r in chunk)) for chunk in bins]
    rows = [
        (role, f"{value:.3f}", f"{return_to_go:.3f}")
        for role, points in series.items()
        for value, return_to_go in points
    ]
    caption = f"{stage}: the discounted return to go against V(s), on validation episodes"
    header = ("role", "V(s)", "return to go")
    return _chart("Calibration of the critics", caption, header, rows, partial(_lines, series, "V(s)", "return"))


def _chart(
    title: str,
    caption: str,
    header: Sequence[str],
    rows: Sequence[tuple[str, ...]],
    draw: Callable[[Any], None],
) -> Chart:
    return Chart(title, caption, tuple(header), tuple(rows), _svg(title + caption, draw) if plots.available() else None)


def _svg(salt: str, draw: Callable[[Any], None]) -> str:
    """Draw an SVG element in the page's colors."""
    matplotlib: Any = import_module("matplotlib")
    matplotlib.use("Agg")
    pyplot: Any = import_module("matplotlib.pyplot")
    style = {
        "svg.fonttype": "none",
        "svg.hashsalt": salt,
        "text.parse_math": False,
        "font.size": 11,
        "axes.spines.top": False,
        "axes.spines.right": False,
        **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), _INK),
        **dict.fromkeys(("axes.edgecolor", "grid.color"), _FRAME),
    }
    with matplotlib.rc_context(style):
        figure, axes = pyplot.subplots(figsize=(7.5, 4), layout="constrained")
        draw(axes)
        axes.grid(alpha=0.4)
        axes.set_axisbelow(True)
        if len(axes.get_legend_handles_labels()[0]) > 1:
            axes.legend(frameon=False, fontsize=10, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
        document = io.StringIO()
        figure.savefig(document, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        pyplot.close(figure)
    return _themed(document.getvalue())


def _themed(document: str) -> str:
    """The ``svg`` element of a document, without a fixed size and with the page's colors."""
    element = document[document.index("<svg") :]
    element = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r"\1", element, count=1)
    element = element.replace(_INK, "var(--ink)").replace(_FRAME, "var(--frame)").replace(_NEUTRAL, "var(--neutral)")
    for number in range(SERIES):
        element = element.replace(_color(number), f"var(--series-{number + 1})")
    return element.strip()


def _color(number: int) -> str:
    return f"#0000a{number % SERIES}"


_ENDINGS = {
    "success": _color(2),
    "failure": _color(1),
    "limit": _NEUTRAL,
    "unreadable": _color(3),
    "error": _color(4),
}
"""Colors of the endings: success is green."""


def _lines(series: Series, xlabel: str, ylabel: str, axes: Any) -> None:
    for number, (name, points) in enumerate(series.items()):
        markers = {"marker": _MARKERS[number % len(_MARKERS)], "markersize": 4} if len(points) <= 20 else {}
        style = _STYLES[number // SERIES % len(_STYLES)]
        axes.plot(
            *zip(*points, strict=True), style, label=clip(name, _LABEL_CHARACTERS), color=_color(number), **markers
        )
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.set_ylim(bottom=min(0.0, *axes.get_ylim()))


def _score_bars(tasks: Sequence[str], summaries: Mapping[str, Summary], axes: Any) -> None:
    height = 0.8 / max(1, len(summaries))
    for number, (name, summary) in enumerate(summaries.items()):
        played = [(position, summary.by_task[task]) for position, task in enumerate(tasks) if task in summary.by_task]
        means = [100 * figures.mean_score for _, figures in played]
        below = [max(0.0, 100 * (figures.mean_score - figures.mean_score_interval.low)) for _, figures in played]
        above = [max(0.0, 100 * (figures.mean_score_interval.high - figures.mean_score)) for _, figures in played]
        positions = [position + (number - (len(summaries) - 1) / 2) * height for position, _ in played]
        axes.errorbar(
            means,
            positions,
            xerr=[below, above],
            fmt=_MARKERS[number % len(_MARKERS)],
            capsize=3,
            color=_color(number),
            label=clip(name, _LABEL_CHARACTERS),
        )
    axes.set(xlabel="score", xlim=(-2, 102))
    axes.set_yticks(range(len(tasks)), labels=[clip(task, _LABEL_CHARACTERS) for task in tasks])
    axes.invert_yaxis()
    axes.figure.set_figheight(max(3.0, 0.28 * len(tasks) * max(1, len(summaries)) ** 0.5 + 1.2))


def _ending_bars(shares: Mapping[str, Sequence[float]], axes: Any) -> None:
    left = [0.0] * len(shares)
    for number, (ending, color) in enumerate(_ENDINGS.items()):
        widths = [share[number] for share in shares.values()]
        axes.barh(range(len(shares)), widths, left=left, color=color, label=ending, height=0.6)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.set(xlabel="% of episodes", xlim=(0, 100))
    axes.set_yticks(range(len(shares)), labels=[clip(name, _LABEL_CHARACTERS) for name in shares])
    axes.invert_yaxis()
    axes.figure.set_figheight(0.5 * len(shares) + 2)


def _count_bars(labels: Sequence[str], counts: Mapping[str, Counter[str]], axes: Any) -> None:
    height = 0.8 / max(1, len(counts))
    for number, (name, count) in enumerate(counts.items()):
        positions = [position + (number - (len(counts) - 1) / 2) * height for position in range(len(labels))]
        widths = [count[label] for label in labels]
        axes.barh(positions, widths, height * 0.9, label=clip(name, _LABEL_CHARACTERS), color=_color(number))
    axes.set(xlabel="episodes")
    axes.set_yticks(range(len(labels)), labels=[clip(label, _LABEL_CHARACTERS) for label in labels])
    axes.invert_yaxis()


def _invalid_word(episode: Episode) -> str:
    """First word of an episode's most frequent invalid action."""
    invalid = Counter(step.action for step in episode.steps if not step.is_valid_action)
    if not invalid:
        return "(no invalid action)"
    action, _ = invalid.most_common(1)[0]
    return action.split(" ")[0] or "(unreadable)"


def _prompts(episode: Episode, role: Role) -> list[float | None]:
    """The tokens of a role's prompt at each action; None if the role was not asked."""
    tokens: list[float | None] = []
    for segment in episode.segments:
        for number, step in enumerate(segment.steps):
            usage = step.usages.get(role) if role is not Role.HIGH else segment.usage if number == 0 else None
            tokens.append(float(usage.prompt_tokens) if usage is not None and usage.prompt_tokens else None)
    return tokens


def _means(rows: Sequence[Sequence[float | None]]) -> list[tuple[float, float]]:
    """Mean of each column, counted from 1, over the rows that have a value in it."""
    longest = max(map(len, rows), default=0)
    columns = ([row[n] for row in rows if n < len(row)] for n in range(longest))
    known = ([value for value in column if value is not None] for column in columns)
    return [(n + 1.0, mean(values)) for n, values in enumerate(known) if values]


def _score(summary: Summary, row: str) -> str:
    if row == "mean over tasks":
        score, interval = summary.mean_score_over_tasks, summary.mean_score_over_tasks_interval
    else:
        figures = summary.overall if row == "mean over episodes" else summary.by_task.get(row)
        if figures is None:
            return ""
        score, interval = figures.mean_score, figures.mean_score_interval
    return f"{100 * score:.1f} ({100 * interval.low:.1f} to {100 * interval.high:.1f})"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _thinned(values: Sequence[float], most: int = 40) -> list[float]:
    """At most so many values at even distances, the last one included."""
    every = -(-len(values) // most) or 1
    return [value for number, value in enumerate(values) if (len(values) - 1 - number) % every == 0]
