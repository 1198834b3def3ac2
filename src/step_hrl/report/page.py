"""Runs as one self-contained HTML file with scores, charts and every episode. Needs jinja2."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module, resources
from importlib.metadata import version
from typing import Any

import yaml

from step_hrl.agents.registry import agent_for
from step_hrl.config import StepHrlConfig
from step_hrl.errors import DataError
from step_hrl.evaluation import Summary, overview, summarize
from step_hrl.report import charts
from step_hrl.report.charts import Chart
from step_hrl.report.payload import EPISODES_A_PIECE, EstimatesByDecision, index_row, pieces
from step_hrl.report.runs import Run, Source

INSTALL = "pip install 'step-hrl[report]'"
COLUMNS = ("source", "task", "variation", "score", "ending", "actions", "invalid", "tokens", "id")
"""Columns of the list of episodes, in the order of :func:`~step_hrl.report.payload.index_row`."""


@dataclass(frozen=True)
class Section:
    """The page's section on one run: facts, a table of figures by evaluation, and charts."""

    name: str
    facts: tuple[tuple[str, str], ...]
    recipe: str
    evaluations: tuple[str, ...]
    figures: tuple[tuple[str, ...], ...]
    charts: tuple[Chart, ...]


def build(runs: Sequence[Run]) -> str:
    """The HTML of the page. Raises :class:`~step_hrl.errors.DataError` if jinja2 is not installed."""
    try:
        jinja2: Any = import_module("jinja2")
    except ImportError as error:
        raise DataError("report", "jinja2 is not installed", INSTALL) from error
    sources = [(run, source) for run in runs for source in run.sources]
    episodes = [(number, episode) for number, (_, source) in enumerate(sources) for episode in source.episodes]
    agents = [agent_for(run.recipe.agent if run.recipe else StepHrlConfig()) for run, _ in sources]
    estimates = [_by_decision(run) for run, _ in sources]
    index = {
        "columns": COLUMNS,
        "sources": [f"{run.name}: {source.label}" if len(runs) > 1 else source.label for run, source in sources],
        "rows": [index_row(episode, number) for number, episode in episodes],
        "episodes_a_piece": EPISODES_A_PIECE,
    }
    page = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(_file("page.html"))
    return page.render(
        title=", ".join(run.name for run in runs),
        version=version("step-hrl"),
        sections=[section(run) for run in runs],
        problems=[problem for run in runs for problem in run.problems],
        style=_file("page.css"),
        script=_file("page.js"),
        index=_json(index),
        pieces=pieces((episode, agents[number], estimates[number]) for number, episode in episodes),
    )


def section(run: Run) -> Section:
    """The section on a run."""
    evaluations = {_short(source): source for source in run.evaluations}
    summaries = {name: summarize(source.episodes, seed=0) for name, source in evaluations.items()}
    recipe = yaml.safe_dump(run.recipe.model_dump(mode="json"), sort_keys=False) if run.recipe else ""
    return Section(
        run.name,
        tuple(_facts(run)),
        recipe,
        tuple(summaries),
        tuple(overview(list(summaries.values()))) if summaries else (),
        tuple(_charts(run, evaluations, summaries)),
    )


def _charts(run: Run, evaluations: dict[str, Source], summaries: dict[str, Summary]) -> Iterator[Chart]:
    if summaries:
        played = {name: source.episodes for name, source in evaluations.items()}
        yield charts.scores(summaries)
        yield charts.endings(played)
        yield charts.refusals(played)
        yield charts.lengths(played)
        for name, episodes in played.items():
            yield charts.prompt_tokens(episodes, name)
    for stage, lines in run.curves.items():
        for prefix, title in (("loss", "Loss"), ("validation/exact_match", "Exact match on validation decisions")):
            chart = charts.learning(stage, lines, prefix, title)
            if chart is not None:
                yield chart
        for name in ("policy_loss", "q_loss", "value_loss", "advantage"):
            chart = charts.learning(stage, lines, name, name.replace("_", " ").capitalize())
            if chart is not None:
                yield chart
    for stage, value_estimates in run.value_estimates.items():
        yield charts.calibration(stage, value_estimates)


def _facts(run: Run) -> Iterator[tuple[str, str]]:
    yield "folder", str(run.folder)
    if run.recipe is not None:
        yield "seed", str(run.recipe.seed)
        yield "world", run.recipe.world.name
        yield "agent", run.recipe.agent.type
        yield "backbone", run.recipe.backbone.source
    for source in run.sources:
        yield source.label, f"{len(source.episodes)} episodes"
    for stage, spent in run.wall_seconds.items():
        yield f"{stage}, wall time", f"{spent / 60:.1f} min"
    for source in run.evaluations[-1:]:
        yield from sorted(source.episodes[-1].provenance.items())


def _by_decision(run: Run) -> EstimatesByDecision:
    """The latest critics' estimates by episode, role and number."""
    estimates = (estimate for value_estimates in run.value_estimates.values() for estimate in value_estimates)
    return {(estimate.episode_id, estimate.role, estimate.number): estimate for estimate in estimates}


def _short(source: Source) -> str:
    return source.label.removeprefix("evaluation/")


def _file(name: str) -> str:
    return resources.files("step_hrl.report").joinpath("page").joinpath(name).read_text(encoding="utf-8")


def _json(content: Any) -> str:
    """JSON that is safe inside a script element."""
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
