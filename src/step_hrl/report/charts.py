"""A run's figures, each as a table and as a plot for a page in light or dark. Plots need matplotlib."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

from step_hrl.evaluation import Summary
from step_hrl.prompts.text import clip
from step_hrl.report import plots
from step_hrl.training.value_estimates import ValueEstimate, rank_correlations
from step_hrl.types import Episode, Role

SERIES = 6
"""Colours that a page must give, as CSS variables ``--series-1`` and so on; further series begin again."""
_STYLES = ("-", "--", "-.", ":")
_MARKERS = "osD^vP"
_INK, _FRAME = "#0000f0", "#0000f1"
_GROUPS = 10
_LABEL_CHARACTERS = 40
_MOST_KINDS = 12
_ENDINGS = {"success": 2, "failure": 1, "limit": 0, "unreadable": 3, "error": 4}
"""Each with the number of its colour: what is solved is green."""


@dataclass(frozen=True)
class Chart:
    """A figure: what it says as a table, and drawn (None where matplotlib is not installed)."""

    title: str
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    svg: str | None


Series = Mapping[str, Sequence[tuple[float, float]]]
"""Points by what they belong to."""


def learning(stage: str, lines: Sequence[Mapping[str, float]], prefix: str, title: str) -> Chart | None:
    """How metrics whose names begin with a prefix went in a training stage; None where there are none."""
    names = sorted({name for line in lines for name in line if name.startswith(prefix)})
    series = {
        name.removeprefix("validation/"): [(line["update"], line[name]) for line in lines if name in line]
        for name in names
    }
    if not series:
        return None
    updates = sorted({x for points in series.values() for x, _ in points})
    by_update = {name: dict(points) for name, points in series.items()}
    rows = [(f"{x:g}", *(_shown(by_update[name].get(x)) for name in series)) for x in _thinned(updates)]
    caption = f"{stage}: {title.lower()} against updates"
    return _chart(title, caption, ("update", *series), rows, partial(_lines, series, "update", title.lower()))


def scores(summaries: Mapping[str, Summary]) -> Chart:
    """Mean score by task with its 95% interval, one series an evaluation, out of 100."""
    tasks = sorted({task for summary in summaries.values() for task in summary.by_task})
    rows = [
        (task, *(_score(summary, task) for summary in summaries.values()))
        for task in (*tasks, "mean over episodes", "mean over tasks")
    ]
    caption = "mean score out of 100 with its 95% bootstrap interval, by task"
    return _chart("Score by task", caption, ("task", *summaries), rows, partial(_score_bars, tasks, summaries))


def prompt_tokens(episodes: Sequence[Episode], name: str) -> Chart:
    """Mean prompt tokens of each role against the step of the episode."""
    by_role = {role.value: _means([_prompts(episode, role) for episode in episodes]) for role in Role}
    series = {role: points for role, points in by_role.items() if points}
    places = sorted({place for points in series.values() for place, _ in points})
    at = {role: dict(points) for role, points in series.items()}
    rows = [
        (f"{place:g}", *(f"{at[role][place]:.0f}" if place in at[role] else "" for role in series)) for place in places
    ]
    caption = f"{name}: mean tokens of a role's prompt at each action (the high level's where it was asked)"
    draw = partial(_lines, series, "action of the episode", "prompt tokens")
    return _chart("Prompt tokens by step", caption, ("action", *series), rows, draw)


def lengths(evaluations: Mapping[str, Sequence[Episode]]) -> Chart:
    """How many episodes took how many actions."""
    longest = max((len(e.steps) for episodes in evaluations.values() for e in episodes), default=0)
    width = max(1, -(-longest // 12))
    starts = range(0, longest + 1, width)
    counted = {
        name: Counter(len(episode.steps) // width for episode in episodes) for name, episodes in evaluations.items()
    }
    rows = [
        (f"{start} to {start + width - 1}", *(str(count[start // width]) for count in counted.values()))
        for start in starts
    ]
    series = {
        name: [(start + (width - 1) / 2, float(count[start // width])) for start in starts]
        for name, count in counted.items()
    }
    draw = partial(_lines, series, "actions", "episodes")
    return _chart("Episode length", "episodes by how many actions they took", ("actions", *counted), rows, draw)


def endings(evaluations: Mapping[str, Sequence[Episode]]) -> Chart:
    """How episodes ended, in percent."""
    counted = {name: Counter(e.ending for e in episodes) for name, episodes in evaluations.items()}
    shares = {
        name: [100 * count[ending] / max(1, count.total()) for ending in _ENDINGS] for name, count in counted.items()
    }
    rows = [(ending, *(f"{shares[name][n]:.1f}" for name in shares)) for n, ending in enumerate(_ENDINGS)]
    caption = "share of episodes in percent: solved, ended unsolved, cut at the action limit, by a reply, or broken"
    return _chart("How episodes ended", caption, ("ending", *shares), rows, partial(_ending_bars, shares))


def refusals(evaluations: Mapping[str, Sequence[Episode]]) -> Chart:
    """What the world refused most often in each episode that was not solved, by the action's first word."""
    counted = {name: Counter(map(_stumbled_at, _unsolved(episodes))) for name, episodes in evaluations.items()}
    kinds = [kind for kind, _ in sum(counted.values(), Counter[str]()).most_common(_MOST_KINDS)]
    rows = [(kind, *(str(count[kind]) for count in counted.values())) for kind in kinds]
    caption = "episodes not solved, by the first word of the most frequent invalid action in them"
    return _chart("Where episodes failed", caption, ("action", *counted), rows, partial(_count_bars, kinds, counted))


def calibration(stage: str, value_estimates: Sequence[ValueEstimate]) -> Chart:
    """The return to go decisions against V(s), in groups of about as many decisions each, by role."""
    worth = rank_correlations(value_estimates)
    series: dict[str, list[tuple[float, float]]] = {}
    for role in dict.fromkeys(value_estimate.role for value_estimate in value_estimates):
        judged = sorted((some.value, some.return_to_go) for some in value_estimates if some.role == role)
        groups = [judged[start : start + -(-len(judged) // _GROUPS)] for start in _starts(len(judged))]
        label = f"{role} (rank correlation {worth[role]:.2f})" if role in worth else role
        series[label] = [(_mean([v for v, _ in group]), _mean([r for _, r in group])) for group in groups]
    rows = [
        (role, f"{value:.3f}", f"{return_to_go:.3f}")
        for role, points in series.items()
        for value, return_to_go in points
    ]
    caption = f"{stage}: the discounted return to go against V(s), on held-out episodes"
    header = ("role", "V(s)", "return to go")
    return _chart("What the critics are worth", caption, header, rows, partial(_lines, series, "V(s)", "return"))


def _chart(
    title: str,
    caption: str,
    header: Sequence[str],
    rows: Sequence[tuple[str, ...]],
    draw: Callable[[Any], None],
) -> Chart:
    return Chart(title, caption, tuple(header), tuple(rows), _svg(title + caption, draw) if plots.available() else None)


def _svg(salt: str, draw: Callable[[Any], None]) -> str:
    """An SVG element whose colours are the page's."""
    matplotlib: Any = import_module("matplotlib")
    matplotlib.use("Agg")
    pyplot: Any = import_module("matplotlib.pyplot")
    look = {
        "svg.fonttype": "none",
        "svg.hashsalt": salt,
        "text.parse_math": False,
        "font.size": 11,
        "axes.spines.top": False,
        "axes.spines.right": False,
        **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), _INK),
        **dict.fromkeys(("axes.edgecolor", "grid.color"), _FRAME),
    }
    with matplotlib.rc_context(look):
        figure, axes = pyplot.subplots(figsize=(7.5, 4), layout="constrained")
        draw(axes)
        axes.grid(alpha=0.4)
        axes.set_axisbelow(True)
        if len(axes.get_legend_handles_labels()[0]) > 1:
            axes.legend(frameon=False, fontsize=10, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
        written = io.StringIO()
        figure.savefig(written, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        pyplot.close(figure)
    return _themed(written.getvalue())


def _themed(document: str) -> str:
    """The ``svg`` element of a document, as wide as there is room, its colours those of the page."""
    element = document[document.index("<svg") :]
    element = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r"\1", element, count=1)
    element = element.replace(_INK, "var(--ink)").replace(_FRAME, "var(--frame)")
    for number in range(SERIES):
        element = element.replace(_colour(number), f"var(--series-{number + 1})")
    return element.strip()


def _colour(number: int) -> str:
    return f"#0000a{number % SERIES}"


def _lines(series: Series, xlabel: str, ylabel: str, axes: Any) -> None:
    for number, (name, points) in enumerate(series.items()):
        few = {"marker": _MARKERS[number % len(_MARKERS)], "markersize": 4} if len(points) <= 20 else {}
        style = _STYLES[number // SERIES % len(_STYLES)]
        axes.plot(*zip(*points, strict=True), style, label=clip(name, _LABEL_CHARACTERS), color=_colour(number), **few)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.set_ylim(bottom=min(0.0, *axes.get_ylim()))


def _score_bars(tasks: Sequence[str], summaries: Mapping[str, Summary], axes: Any) -> None:
    height = 0.8 / max(1, len(summaries))
    for number, (name, summary) in enumerate(summaries.items()):
        played = [(place, summary.by_task[task]) for place, task in enumerate(tasks) if task in summary.by_task]
        means = [100 * found.mean_score for _, found in played]
        below = [max(0.0, 100 * (found.mean_score - found.mean_score_interval.low)) for _, found in played]
        above = [max(0.0, 100 * (found.mean_score_interval.high - found.mean_score)) for _, found in played]
        places = [place + (number - (len(summaries) - 1) / 2) * height for place, _ in played]
        axes.errorbar(
            means,
            places,
            xerr=[below, above],
            fmt=_MARKERS[number % len(_MARKERS)],
            capsize=3,
            color=_colour(number),
            label=clip(name, _LABEL_CHARACTERS),
        )
    axes.set(xlabel="score", xlim=(-2, 102))
    axes.set_yticks(range(len(tasks)), labels=[clip(task, _LABEL_CHARACTERS) for task in tasks])
    axes.invert_yaxis()
    axes.figure.set_figheight(max(3.0, 0.28 * len(tasks) * max(1, len(summaries)) ** 0.5 + 1.2))


def _ending_bars(shares: Mapping[str, Sequence[float]], axes: Any) -> None:
    left = [0.0] * len(shares)
    for place, (ending, colour) in enumerate(_ENDINGS.items()):
        widths = [share[place] for share in shares.values()]
        axes.barh(range(len(shares)), widths, left=left, color=_colour(colour), label=ending, height=0.6)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.set(xlabel="% of episodes", xlim=(0, 100))
    axes.set_yticks(range(len(shares)), labels=[clip(name, _LABEL_CHARACTERS) for name in shares])
    axes.invert_yaxis()
    axes.figure.set_figheight(0.5 * len(shares) + 2)


def _count_bars(kinds: Sequence[str], counted: Mapping[str, Counter[str]], axes: Any) -> None:
    height = 0.8 / max(1, len(counted))
    for number, (name, count) in enumerate(counted.items()):
        places = [place + (number - (len(counted) - 1) / 2) * height for place in range(len(kinds))]
        widths = [count[kind] for kind in kinds]
        axes.barh(places, widths, height * 0.9, label=clip(name, _LABEL_CHARACTERS), color=_colour(number))
    axes.set(xlabel="episodes")
    axes.set_yticks(range(len(kinds)), labels=[clip(kind, _LABEL_CHARACTERS) for kind in kinds])
    axes.invert_yaxis()


def _unsolved(episodes: Sequence[Episode]) -> list[Episode]:
    return [episode for episode in episodes if not episode.success]


def _stumbled_at(episode: Episode) -> str:
    refused = Counter(step.action for step in episode.steps if not step.is_valid_action)
    if not refused:
        return "(nothing refused)"
    action, _ = refused.most_common(1)[0]
    return action.split(" ")[0] or "(unreadable)"


def _prompts(episode: Episode, role: Role) -> list[float | None]:
    """The tokens of a role's prompt at each action; None where it was not asked."""
    read: list[float | None] = []
    for segment in episode.segments:
        for number, step in enumerate(segment.steps):
            usage = step.usages.get(role) if role is not Role.HIGH else segment.usage if number == 0 else None
            read.append(float(usage.prompt_tokens) if usage is not None and usage.prompt_tokens else None)
    return read


def _means(rows: Sequence[Sequence[float | None]]) -> list[tuple[float, float]]:
    """For each place, counted from 1, the mean over the rows that have a value there."""
    longest = max(map(len, rows), default=0)
    columns = ([row[n] for row in rows if n < len(row)] for n in range(longest))
    known = ([value for value in column if value is not None] for column in columns)
    return [(n + 1.0, sum(values) / len(values)) for n, values in enumerate(known) if values]


def _score(summary: Summary, row: str) -> str:
    if row == "mean over tasks":
        mean, interval = summary.mean_score_over_tasks, summary.mean_score_over_tasks_interval
    else:
        found = summary.overall if row == "mean over episodes" else summary.by_task.get(row)
        if found is None:
            return ""
        mean, interval = found.mean_score, found.mean_score_interval
    return f"{100 * mean:.1f} ({100 * interval.low:.1f} to {100 * interval.high:.1f})"


def _starts(count: int) -> range:
    """Where groups of equal size begin among so many."""
    return range(0, count, -(-count // _GROUPS) or 1)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _thinned(values: Sequence[float], most: int = 40) -> list[float]:
    """Evenly chosen values, the last among them."""
    every = -(-len(values) // most) or 1
    return [value for place, value in enumerate(values) if (len(values) - 1 - place) % every == 0]
