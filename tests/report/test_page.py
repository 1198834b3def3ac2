"""A run's HTML page in a real browser, opened from disk, and what it reports of damaged or empty runs."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from step_hrl.agents.registry import agent_for
from step_hrl.api import load_expert, play
from step_hrl.config import FlatConfig, HistoryHrlConfig, ReactConfig, StepHrlConfig
from step_hrl.data.episode_files import EpisodeWriter, encode_line
from step_hrl.data.transitions import trust_policy
from step_hrl.envs.pantry import PantryWorld
from step_hrl.errors import DataError
from step_hrl.report.page import build
from step_hrl.report.payload import payload
from step_hrl.report.runs import read_run
from step_hrl.training.value_estimates import ValueEstimate, to_lines
from step_hrl.types import Episode, Observation, Role, Segment, Step, Task

pytest.importorskip("jinja2", reason="needs the report extra")

GOLDEN_V1 = Path(__file__).parents[1] / "golden" / "episodes-v1.jsonl"
HOSTILE = "</script><script>document.title='broken'</script><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def demonstrations() -> list[Episode]:
    """Demonstrations of pantry."""
    world, expert = PantryWorld(), load_expert("pantry", action_noise=0.2)
    factory = world.open()
    env = factory.env()
    tasks = world.tasks("seen", per_task=2)
    episodes = [play(expert, env, task, max_episode_steps=30) for task in tasks]
    factory.close()
    return [replace(episode, id=f"e{number}") for number, episode in enumerate(episodes)]


def hostile() -> Episode:
    """An episode in which every text holds markup that a browser must not interpret."""
    seen = Observation(HOSTILE, HOSTILE, HOSTILE)
    step = Step(seen, HOSTILE, HOSTILE, False, 0.0, seen, HOSTILE, is_valid_action=False)
    segment = Segment(HOSTILE, (), "None", seen, (step,), "limit")
    return Episode(
        "hostile", Task("w", HOSTILE, 0, "dev", HOSTILE), (segment,), 0.0, False, provenance={"model": HOSTILE}
    )


def write(path: Path, episodes: list[Episode]) -> None:
    with EpisodeWriter(path) as writer:
        for episode in episodes:
            writer.write(episode)


@pytest.fixture
def run(tmp_path: Path, demonstrations: list[Episode]) -> Path:
    folder = tmp_path / "small"
    write(folder / "evaluation" / "behavior_cloning-seen" / "episodes.jsonl", demonstrations)
    write(folder / "evaluation" / "offline_rl-round-1-seen" / "episodes.jsonl", [*demonstrations[:4], hostile()])
    recipe = {"name": "small", "world": {"name": "pantry"}}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    stage = folder / "offline_rl" / "round-1"
    stage.mkdir(parents=True)
    lines = [{"update": 20 * n, "loss": 1 / n, "policy_loss_low": 1 / n} for n in range(1, 9)]
    (stage / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    estimates = [ValueEstimate("e0", "low", number, 0.1 * number, 0.1 * number + 0.05, 0.2) for number in range(3)]
    (stage / "value_estimates.jsonl").write_text(to_lines(estimates))
    return folder


def test_a_page_shows_evaluations_scores_and_charts(run: Path, demonstrations: list[Episode]) -> None:
    page = build([read_run(run)])
    assert "behavior_cloning-seen" in page
    assert "100.0 (100.0 to 100.0)" in page
    assert all(episode.task.name in page for episode in demonstrations)
    assert "Calibration of the critics" in page
    assert re.search(r"(src|href)=\"(?!#)", page) is None  # the page is self-contained


def test_prompts_are_those_the_agent_read(demonstrations: list[Episode]) -> None:
    episode = demonstrations[0]
    for config in (StepHrlConfig(), FlatConfig(), HistoryHrlConfig()):
        agent = agent_for(config)
        content = payload(episode, agent, {})
        low = [step["low"] for segment in content["segments"] for step in segment["steps"]]
        prompts = ["\n".join(content["texts"][line] for line in decision["prompt"]) for decision in low]
        cut = [each for each in agent.transitions(episode, trust_policy) if each.role is Role.LOW]
        assert prompts == [each.state for each in cut]
        assert [content["texts"][decision["reply"]] for decision in low] == [each.utterance for each in cut]


def test_prompts_that_cannot_be_reconstructed_are_left_out(demonstrations: list[Episode]) -> None:
    content = payload(demonstrations[0], agent_for(ReactConfig()), {})
    assert not any("low" in step for segment in content["segments"] for step in segment["steps"])


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: no such folder"):
        read_run(tmp_path / "nowhere")


def test_an_empty_run_says_so(tmp_path: Path) -> None:
    page = build([read_run(tmp_path)])
    assert "no episodes yet" in page
    assert "No evaluation yet." in page


def test_damage_is_reported_and_the_rest_is_shown(run: Path, demonstrations: list[Episode]) -> None:
    file = run / "evaluation" / "behavior_cloning-seen" / "episodes.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b"pantry", b"pentry", 1)
    lines[2] = lines[2].replace(b'{"schema_version":2,', b'{"schema_version":7,', 1)
    file.write_bytes(b"".join(lines) + encode_line(demonstrations[0])[:40])
    metrics = run / "offline_rl" / "round-1" / "metrics.jsonl"
    metrics.write_text(metrics.read_text() + '{"update": 400, "lo')
    found = read_run(run)
    assert len(found.evaluations[0].episodes) == len(demonstrations) - 2
    problems = "\n".join(found.problems)
    for problem in (
        "line 2: the checksum does not match; left out",
        "line 3: schema_version 7",
        f"line {len(demonstrations) + 1}: cut short; left out",
        "metrics.jsonl: line 9: ",
    ):
        assert problem in problems
    assert "schema_version 7" in build([found])


def test_a_run_of_version_0_1_is_shown_as_far_as_it_can_be_read(tmp_path: Path) -> None:
    episodes = tmp_path / "evaluation" / "behavior_cloning-seen" / "episodes.jsonl"
    episodes.parent.mkdir(parents=True)
    shutil.copy(GOLDEN_V1, episodes)
    (episodes.parent / "stamp.json").write_text("{}")
    (tmp_path / "recipe.yaml").write_text("name: old\nworld: {name: pantry}\nagent: {kind: flat, action_limit: 30}\n")
    stage = tmp_path / "offline_rl" / "round-1"
    stage.mkdir(parents=True)
    (stage / "metrics.jsonl").write_text('{"update": 20, "loss": 1.0, "held_out/loss_low": 2.0}\n')
    (stage / "judgements.jsonl").write_text('{"episode_id": "e", "followed": 1.0}\n')
    found = read_run(tmp_path)
    assert found.recipe is None
    assert len(found.evaluations[0].episodes) == len(GOLDEN_V1.read_bytes().splitlines())
    [problem] = found.problems
    assert "recipe.yaml: agent.kind" in problem
    assert "prompts are shown as for the agent step_hrl" in problem
    page = build([found])
    assert "recipe.yaml: agent.kind" in page
    assert "Score by task" in page


@pytest.mark.parametrize("mark", ["previous", "superseded"])
def test_folders_moved_aside_are_not_shown(run: Path, mark: str) -> None:
    aside = run / "evaluation" / f"behavior_cloning-seen.{mark}-1"
    shutil.copytree(run / "evaluation" / "behavior_cloning-seen", aside)
    assert len(read_run(run).sources) == 2


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs the dev extra")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("needs Chromium")
    with sync_api.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()


class Opened:
    """A page in the browser, with its console messages and its requests."""

    def __init__(self, browser: Any, file: Path, link: str = "", **context: Any) -> None:
        self.messages: list[str] = []
        self.requests: list[str] = []
        self.page = browser.new_page(**context)
        self.page.on("console", lambda message: self.messages.append(message.text))
        self.page.on("pageerror", lambda error: self.messages.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("dialog", lambda dialog: self.messages.append(f"dialog {dialog.message}"))
        self.page.goto(f"{file.as_uri()}{link}")
        self.page.wait_for_selector("html[data-ready]")


@pytest.fixture
def file(run: Path) -> Path:
    written = run / "report.html"
    written.write_text(build([read_run(run)]), encoding="utf-8")
    return written


def test_an_episode_can_be_found_and_stepped_through(browser: Any, file: Path, demonstrations: list[Episode]) -> None:
    opened = Opened(browser, file)
    page = opened.page
    assert page.inner_text("#count") == f"{len(demonstrations) + 5} of {len(demonstrations) + 5} episodes"
    page.select_option("[name=source]", label="evaluation/behavior_cloning-seen")
    page.select_option("[name=task]", label=demonstrations[-1].task.name)
    wanted = [episode for episode in demonstrations if episode.task.name == demonstrations[-1].task.name]
    assert page.inner_text("#count").startswith(f"{len(wanted)} of ")
    page.click("#list button >> nth=0")
    page.wait_for_selector("#viewer:not([hidden])")
    episode = wanted[0]
    steps = [(segment.subtask, step) for segment in episode.segments for step in segment.steps]
    for number, (subtask, step) in enumerate(steps, start=1):
        shown_step = page.inner_text("#step")
        assert shown_step.startswith(f"Step {number} of {len(steps)}")
        assert subtask in shown_step
        assert page.inner_text("#step .action") == step.action
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    assert page.is_hidden("#viewer")
    assert opened.messages == []
    assert opened.requests == [file.as_uri()]


def test_keys_move_between_subtasks_and_episodes(browser: Any, file: Path, demonstrations: list[Episode]) -> None:
    page = Opened(browser, file, "#episode=e0&source=0&step=1").page
    page.keyboard.press("ArrowDown")
    second = len(demonstrations[0].segments[0].steps) + 1
    assert page.inner_text("#step").startswith(f"Step {second} of ")
    page.keyboard.press("k")
    assert page.inner_text("#step").startswith(f"Step {second - 1} of ")
    page.keyboard.press("n")
    page.wait_for_function("location.hash.startsWith('#episode=e1&')")
    assert page.inner_text("#viewer-title") == demonstrations[1].task.key


def test_a_link_opens_a_step_and_its_prompts(browser: Any, file: Path, demonstrations: list[Episode]) -> None:
    opened = Opened(browser, file, "#episode=e0&source=0&step=2")
    page = opened.page
    assert page.inner_text("#step").startswith("Step 2 of ")
    assert "#episode=e0&source=0&step=2" in page.url
    page.click("#step summary:has-text('Low level')")
    cut = [
        each
        for each in agent_for(StepHrlConfig()).transitions(demonstrations[0], trust_policy)
        if each.role is Role.LOW
    ]
    texts = [part.inner_text() for part in page.query_selector_all("#step details[open] pre")]
    assert texts == [cut[1].state, cut[1].utterance]
    assert "V 0.1, Q 0.15, advantage 0.05" in page.inner_text("#step")
    unknown = Opened(browser, file, "#episode=nobody").page
    assert unknown.inner_text("#count").startswith("No episode nobody in this report.")


def test_texts_of_environments_and_models_are_escaped(browser: Any, file: Path) -> None:
    opened = Opened(browser, file, "#episode=hostile&source=1&step=1")
    page = opened.page
    assert page.title() == "small"
    assert page.inner_text("#step .action") == HOSTILE
    assert HOSTILE in page.inner_text("#spine")
    assert page.query_selector_all("img") == []
    assert opened.messages == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_horizontal_scrolling(browser: Any, file: Path, scheme: str) -> None:
    opened = Opened(
        browser, file, "#episode=e0&source=0&step=1", viewport={"width": 390, "height": 844}, color_scheme=scheme
    )
    page = opened.page
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    paper, ink = page.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
    assert paper != ink
    assert opened.messages == []


def test_every_control_has_a_name_and_every_plot_a_table(browser: Any, file: Path) -> None:
    page = Opened(browser, file, "#episode=e0&source=0&step=1").page
    unnamed = "[...document.querySelectorAll('button, select')].filter(e => !(e.innerText || e.labels?.length)).length"
    assert page.evaluate(unnamed) == 0
    plots = page.query_selector_all("figure")
    assert plots
    assert all(plot.query_selector("table") for plot in plots)
    assert all(plot.get_attribute("aria-label") for plot in page.query_selector_all(".plot"))
