"""Time to write and to open a report of 5,000 episodes, and its size.

    python benchmarks/report_page.py [EPISODES]

The episodes are repeated pantry demonstrations with action noise. Opening is measured in headless Chromium, from
navigation to the page being ready, best of three; it is skipped without Chromium or playwright. Prints JSON.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import yaml

from step_hrl.api import load_expert, play
from step_hrl.data.episode_files import encode_line
from step_hrl.envs.pantry import PantryWorld
from step_hrl.report.page import build
from step_hrl.report.runs import read_run


def main(episodes: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "many"
        write_run(folder, episodes)
        begun = time.perf_counter()
        page = folder / "report.html"
        page.write_text(build([read_run(folder)]), encoding="utf-8")
        figures = {
            "episodes": episodes,
            "write_seconds": round(time.perf_counter() - begun, 1),
            "megabytes": round(page.stat().st_size / 1e6, 2),
            "open_seconds": open_seconds(page),
        }
    print(json.dumps(figures, indent=1))


def write_run(folder: Path, episodes: int) -> None:
    """Write a run with an evaluation of this many episodes."""
    world, expert = PantryWorld(), load_expert("pantry", action_noise=0.3)
    env, tasks = world.open().env(), world.tasks("train")
    file = folder / "evaluation" / "behavior_cloning-train" / "episodes.jsonl"
    file.parent.mkdir(parents=True)
    (folder / "recipe.yaml").write_text(yaml.safe_dump({"name": "many", "world": {"name": "pantry"}}))
    with file.open("wb") as stream:
        for number in range(episodes):
            task, repeat = tasks[number % len(tasks)], number // len(tasks)
            episode = play(expert, env, task, seed=repeat)
            stream.write(encode_line(replace(episode, id=f"{task.key}/{repeat}")))


def open_seconds(page: Path) -> float | None:
    """Seconds until the page has listed its episodes, or None without a browser."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None or find_spec("playwright") is None:
        return None
    from playwright.sync_api import sync_playwright

    times: list[float] = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for _ in range(3):
            tab = browser.new_page()
            begun = time.perf_counter()
            tab.goto(page.as_uri())
            tab.wait_for_selector("html[data-ready]", state="attached")
            times.append(time.perf_counter() - begun)
            tab.close()
        browser.close()
    return round(min(times), 2)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5000)
