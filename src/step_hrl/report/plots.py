"""Plots of a comparison as PNG and SVG. Needs matplotlib (extra ``report``)."""

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
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


def draw(agents: Mapping[str, Compared], lengths: Mapping[str, float], folder: Path, split: str) -> list[Path]:
    """Plot prompt tokens by step, score by tokens, and both by task length; return the files.

    ``lengths`` is the number of actions that the expert takes, by task.
    """
    matplotlib: Any = import_module("matplotlib")
    matplotlib.use("Agg")
    pyplot: Any = import_module("matplotlib.pyplot")
    files: list[Path] = []
    for name, draw_on in _plots(lengths).items():
        figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
        draw_on(axes, agents)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
        for kind in FORMATS:
            files.append(folder / f"{name}-{split}.{kind}")
            figure.savefig(files[-1], dpi=150, metadata={"Date": None} if kind == "svg" else None)
        pyplot.close(figure)
    return files


def _plots(lengths: Mapping[str, float]) -> dict[str, Callable[[Any, Mapping[str, Compared]], None]]:
    return {
        "prompt-tokens": _prompt_tokens,
        "score-per-token": _score_per_token,
        "score-by-length": partial(_by_length, lengths, lambda figures: 100 * figures.score, "score"),
        "tokens-by-length": partial(
            _by_length, lengths, lambda figures: figures.tokens_per_episode, "tokens per episode"
        ),
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
    axes.set(xlabel="task length (actions of the expert)", ylabel=label, ylim=(0, None))


def _prompt_tokens(axes: Any, agents: Mapping[str, Compared]) -> None:
    for name, compared in agents.items():
        tokens = compared.prompt_tokens_by_step
        axes.plot(range(1, len(tokens) + 1), tokens, label=name)
    axes.locator_params(axis="x", integer=True)
    axes.set(xlabel="action of the episode", ylabel="prompt tokens", ylim=(0, None))


def _score_per_token(axes: Any, agents: Mapping[str, Compared]) -> None:
    for name, compared in agents.items():
        low, high = compared.score_interval.low, compared.score_interval.high
        spread = [[100 * max(0.0, compared.score - low)], [100 * max(0.0, high - compared.score)]]
        axes.errorbar(
            [compared.tokens_per_episode], [100 * compared.score], yerr=spread, fmt="o", label=name, capsize=3
        )
    axes.set(xlabel="tokens per episode", ylabel="score with 95% interval", xscale="log")
