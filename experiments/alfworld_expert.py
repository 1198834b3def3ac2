"""Evaluate ALFWorld's expert: games won within 50 actions, actions and searched places, by task type.

    python experiments/alfworld_expert.py train:50 seen

Each argument is a split with the number of games of each type, spread evenly (default: all). Prints JSON.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict

from rich.console import Console

from step_hrl.api import load_expert, play
from step_hrl.envs.alfworld import Alfworld
from step_hrl.runs.progress_bar import ProgressBar
from step_hrl.types import Episode

MAX_EPISODE_STEPS = 50


def main(arguments: list[str]) -> None:
    world, expert = Alfworld(), load_expert("alfworld")
    env = world.open().env()
    for argument in arguments:
        split, _, count = argument.partition(":")
        tasks = world.tasks(split, per_task=int(count) if count else None)
        episodes: dict[str, list[Episode]] = defaultdict(list)
        with ProgressBar(Console(stderr=True), split, len(tasks)) as progress_bar:
            for task in tasks:
                episodes[task.name].append(play(expert, env, task, max_episode_steps=MAX_EPISODE_STEPS))
                progress_bar.advance(note=task.key)
        episodes["all"] = [episode for played in list(episodes.values()) for episode in played]
        print(json.dumps({"split": split, **{name: figures(played) for name, played in episodes.items()}}, indent=1))


def figures(episodes: list[Episode]) -> dict[str, float]:
    """Figures of some episodes; a search is a walk to a place in a subtask that finds a thing."""
    searched = [
        step.action.startswith("go to ")
        for episode in episodes
        for segment in episode.segments
        if segment.subtask.startswith(("find ", "look "))
        for step in segment.steps
    ]
    actions = [len(episode.steps) for episode in episodes]
    return {
        "games": len(episodes),
        "won": sum(episode.success for episode in episodes),
        "mean_actions": round(sum(actions) / len(actions), 2),
        "most_actions": max(actions),
        "mean_searches": round(sum(searched) / len(episodes), 2),
    }


if __name__ == "__main__":
    main(sys.argv[1:] or ["train:50", "seen"])
