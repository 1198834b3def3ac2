"""Plots of a comparison, as PNG and SVG. Needs matplotlib (the extra ``report``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from step_hrl.report.comparison import Compared, TaskFigures

FORMATS = ("png", "svg")


def available() -> bool:
    """Whether plots can be drawn here."""
    return find_spec("matplotlib") is not None


def draw(agents: Mapping[str, Compared], lengths: Mapping[str, float], folder: Path, split: str) -> list[Path]:
    """Draw prompt tokens against the step, score against tokens, and both against a task's length.

    ``lengths`` are the tasks', in actions that the expert takes. Returns the files that were written.
    """
    matplotlib: Any = import_module("matplotlib")
    matplotlib.use("Agg")
    pyplot: Any = import_module("matplotlib.pyplot")
    written: list[Path] = []
    for name, draw_on in _plots(lengths).items():
        figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
        draw_on(axes, agents)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
        for kind in FORMATS:
            written.append(folder / f"{name}-{split}.{kind}")
            figure.savefig(written[-1], dpi=150, metadata={"Date": None} if kind == "svg" else None)
        pyplot.close(figure)
    return written


def _plots(lengths: Mapping[str, float]) -> dict[str, Callable[[Any, Mapping[str, Compared]], None]]:
    return {
        "prompt-tokens": _prompt_tokens,
        "score-per-token": _score_per_token,
        "score-by-length": partial(_by_length, lengths, lambda found: 100 * found.score, "score"),
        "tokens-by-length": partial(_by_length, lengths, lambda found: found.tokens_per_episode, "tokens an episode"),
    }


def _by_length(
    lengths: Mapping[str, float],
    value: Callable[[TaskFigures], float],
    label: str,
    axes: Any,
    agents: Mapping[str, Compared],
) -> None:
    tasks = sorted(lengths, key=lambda task: lengths[task])
    for name, compared in agents.items():
        played = [task for task in tasks if task in compared.by_task]
        values = [value(compared.by_task[task]) for task in played]
        axes.plot([lengths[task] for task in played], values, marker="o", label=name)
    axes.set(xlabel="actions that the expert takes, by task", ylabel=label, ylim=(0, None))


def _prompt_tokens(axes: Any, agents: Mapping[str, Compared]) -> None:
    for name, compared in agents.items():
        tokens = compared.prompt_tokens_by_step
        axes.plot(range(1, len(tokens) + 1), tokens, label=name)
    axes.locator_params(axis="x", integer=True)
    axes.set(xlabel="action of the episode", ylabel="prompt tokens read for it", ylim=(0, None))


def _score_per_token(axes: Any, agents: Mapping[str, Compared]) -> None:
    for name, compared in agents.items():
        low, high = compared.score_interval.low, compared.score_interval.high
        spread = [[100 * max(0.0, compared.score - low)], [100 * max(0.0, high - compared.score)]]
        axes.errorbar(
            [compared.tokens_per_episode], [100 * compared.score], yerr=spread, fmt="o", label=name, capsize=3
        )
    axes.set(xlabel="tokens an episode", ylabel="score, with its 95% interval", xscale="log")
