"""Metrics also go to trackers that are installed or named; trackers print, open and ask nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from accelerate.utils import LoggerType
from tests.tiny_model import tiny_backbone
from tests.training.test_loop import QUICK, Interrupted, StopsAt, changed, lines, samples_of, trained

from step_hrl.errors import RecipeError
from step_hrl.training import trackers
from step_hrl.training.loop import train


def only(*installed: str) -> Any:
    def version(name: str) -> str:
        if name not in installed:
            raise metadata.PackageNotFoundError(name)
        return "1"

    return version


class FakeTrackio(types.ModuleType):
    """A fake trackio: records its calls, and prints as much as trackio does."""

    def __init__(self) -> None:
        super().__init__("trackio")
        self.config: dict[str, Any] = {}
        self.started: list[dict[str, Any]] = []
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.running = False

    def init(self, **settings: Any) -> FakeTrackio:
        print("* Trackio project initialized\n* View dashboard by running in your terminal")
        self.started.append(settings)
        self.running = True
        return self

    def log(self, values: dict[str, float], step: int) -> None:
        self.logged.append((step, values))

    def finish(self) -> None:
        print("* Run finished. Uploading logs to Trackio (please wait...)")
        self.running = False


@pytest.fixture
def trackio(monkeypatch: pytest.MonkeyPatch) -> FakeTrackio:
    fake = FakeTrackio()
    monkeypatch.setitem(sys.modules, "trackio", fake)
    monkeypatch.setattr("accelerate.tracking._available_trackers", [LoggerType.TRACKIO])
    monkeypatch.setattr(metadata, "version", only("trackio"))
    return fake


def test_trackio_is_used_if_it_is_installed_and_trackers_are_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", only("trackio", "wandb"))
    assert trackers.chosen(None) == ("trackio",)
    assert trackers.chosen(()) == ()
    assert trackers.chosen(("wandb",)) == ("wandb",)
    monkeypatch.setattr(metadata, "version", only())
    assert trackers.chosen(None) == ()
    assert trackers.chosen(()) == ()


def test_a_tracker_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", only())
    with pytest.raises(RecipeError, match="wandb is not installed"):
        trained(tmp_path, changed(trackers=("wandb",)))
    assert not list(tmp_path.iterdir())


def test_trackio_gets_the_metrics_and_prints_nothing(
    tmp_path: Path, trackio: FakeTrackio, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(tmp_path)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("trackio show --project step-hrl") == 1
    assert len(printed.err.splitlines()) == 2
    assert [{"update": step, **values} for step, values in trackio.logged] == lines(tmp_path)
    assert trackio.config["learning_rate"] == QUICK.learning_rate
    assert not trackio.running


def test_an_interrupted_run_is_resumed_and_another_is_new(tmp_path: Path, trackio: FakeTrackio) -> None:
    backbone = tiny_backbone()
    samples = samples_of(backbone)
    with pytest.raises(Interrupted):
        train(StopsAt(backbone, 6), samples, QUICK, output=tmp_path / "one", seed=0)
    assert not trackio.running
    trained(tmp_path / "one")
    trained(tmp_path / "two", changed(learning_rate=0.02))
    names = [each["name"] for each in trackio.started]
    assert names[0] == names[1] != names[2]
    assert {each["resume"] for each in trackio.started} == {"allow"}


def test_an_empty_list_starts_no_tracker(tmp_path: Path, trackio: FakeTrackio) -> None:
    trained(tmp_path, changed(trackers=(), epochs=0.5))
    assert not trackio.started


def test_a_tracker_that_fails_to_start_is_one_error_line(
    tmp_path: Path, trackio: FakeTrackio, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(**settings: Any) -> None:
        raise ValueError("Self-hosted logging requires\na write token")

    monkeypatch.setattr(trackio, "init", init)
    with pytest.raises(RecipeError, match=r"trackio cannot be started \(Self-hosted logging requires a write token\)"):
        trained(tmp_path)


def test_tensorboard_gets_the_metrics_if_named(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the tensorboard extra is not installed")
    trained(tmp_path, changed(trackers=("tensorboard",), epochs=0.5))
    assert list(tmp_path.rglob("events.out.tfevents.*"))


TRAIN = """
import sys
from pathlib import Path
from tests.training.test_loop import changed, trained
trained(Path(sys.argv[1]), changed(epochs=1.0, log_every=2))
"""


def test_the_real_trackio_prints_no_more(tmp_path: Path) -> None:
    pytest.importorskip("trackio", reason="the trackio extra is not installed")
    home = {"TRACKIO_DIR": str(tmp_path / "trackio"), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", TRAIN, str(tmp_path / "run")]
    ended = subprocess.run(command, env={**os.environ, **home}, capture_output=True, text=True, check=True)
    assert ended.stdout == ""
    assert len(ended.stderr.splitlines()) == 2
    assert list((tmp_path / "trackio").glob("*.db"))
