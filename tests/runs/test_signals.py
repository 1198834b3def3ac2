"""A signal stops long work at a point from which it can be resumed."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from tests.cli.test_main import PANTRY
from tests.command import finish, start
from tests.scripted import CountingWorld, ScriptedEngine, count_well

from step_hrl.agents.step_hrl import StepHrlAgent
from step_hrl.envs.pantry import PantryWorld
from step_hrl.envs.pool import WorkerPool
from step_hrl.experts.base import expert_for
from step_hrl.rollout import rollout
from step_hrl.runs import manifest, signals
from step_hrl.runs.signals import Stopped
from step_hrl.stages.demonstrations import demonstrate
from step_hrl.training import checkpoints
from step_hrl.types import Ask, Episode, Job


def test_the_first_signal_requests_a_stop_and_the_second_stops_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with signals.handle_stop_signals():
        assert not signals.stop_requested()
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.stop_requested()
        assert "a second signal stops at once" in capsys.readouterr().err
        with pytest.raises(Stopped) as stopped:
            os.kill(os.getpid(), signal.SIGINT)
        assert stopped.value.signal == signal.SIGINT
        assert signals.stop_exception().signal == signal.SIGTERM
    assert not signals.stop_requested()
    assert signal.getsignal(signal.SIGTERM) is before


def test_running_episodes_are_finished_and_no_others_started() -> None:
    asks: list[Ask] = []

    def stop_soon(ask: Ask) -> str:
        asks.append(ask)
        if len(asks) == 12:
            signals.request_stop()
        return count_well(ask)

    episodes: list[Episode] = []
    jobs = [Job(task) for task in CountingWorld().tasks("train", per_task=9)]
    pool = WorkerPool(CountingWorld(), workers=1, simulators_per_worker=3, max_episode_steps=12)
    with signals.handle_stop_signals(), pool, pytest.raises(Stopped):
        rollout(jobs, StepHrlAgent(), ScriptedEngine(stop_soon), pool, concurrent=3, on_episode=episodes.append)
    assert len(episodes) == 3
    assert all(episode.success for episode in episodes)


def test_a_stop_during_the_last_episode_has_no_effect() -> None:
    def stop_at_once(ask: Ask) -> str:
        signals.request_stop()
        return count_well(ask)

    episodes: list[Episode] = []
    jobs = [Job(task) for task in CountingWorld().tasks("train", per_task=1)]
    with (
        signals.handle_stop_signals(),
        WorkerPool(CountingWorld(), workers=1, simulators_per_worker=1, max_episode_steps=12) as pool,
    ):
        rollout(jobs, StepHrlAgent(), ScriptedEngine(stop_at_once), pool, concurrent=1, on_episode=episodes.append)
    assert len(episodes) == 1


def test_running_demonstrations_are_finished_and_no_others_started() -> None:
    episodes: list[Episode] = []

    def keep(episode: Episode) -> None:
        episodes.append(episode)
        signals.request_stop()

    jobs = [Job(task) for task in PantryWorld().tasks("train", per_task=5)]
    pool = WorkerPool(PantryWorld(), workers=1, simulators_per_worker=2, max_episode_steps=30)
    with signals.handle_stop_signals(), pool, pytest.raises(Stopped):
        demonstrate(jobs, expert_for("pantry"), pool, keep)
    assert 1 <= len(episodes) <= 2
    assert all(episode.success for episode in episodes)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_training_stopped_by_a_signal_resumes_to_the_same_weights(tmp_path: Path, processes: int) -> None:
    (tmp_path / "small.yaml").write_text(PANTRY)
    words = ["train", "bc", "small.yaml", f"behavior_cloning.processes={processes}"]
    words += ["behavior_cloning.epochs=30", "behavior_cloning.log_every=1", "behavior_cloning.checkpoint_every=1000"]
    finish(tmp_path, "demos", "small.yaml")
    shutil.copytree(tmp_path / "runs/small", tmp_path / "runs/reference")
    stage = tmp_path / "runs/small/behavior_cloning"
    running = start(tmp_path, *words)
    while not (stage / "metrics.jsonl").is_file():
        assert running.poll() is None, "training ended before it could be stopped"
        time.sleep(0.01)
    running.send_signal(signal.SIGTERM)
    assert running.wait(60) == 128 + signal.SIGTERM
    kept = checkpoints.latest(stage)
    assert kept is not None
    assert kept.name.startswith("stopped-")
    assert checkpoints.every(stage) == []
    finish(tmp_path, *words)
    assert not kept.exists(), "the first regular checkpoint replaces it"
    finish(tmp_path, *words, "output=runs/reference")
    ended, reference = (
        tmp_path / "runs" / run / "behavior_cloning/policy/model.safetensors" for run in ("small", "reference")
    )
    assert manifest.digest_file(ended) == manifest.digest_file(reference)
