"""Runs a recipe while faults are injected at random times, and compares the result with an undisturbed run.

Each fault is injected into the running command, the harness waits for the command to end, and starts it again. After
the last fault the run is left to finish. Its episodes and weights must then equal those of the undisturbed run, and no
process that it started may still be alive.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from step_hrl.data.codec import to_json
from step_hrl.data.episode_files import read_episodes
from step_hrl.runs import manifest
from step_hrl.types import Episode
from tests.command import COMMAND
from tests.faults.endpoint import Endpoint

KEY = "STEP_HRL_FAULTS_KEY"
"""The environment variable with the API key, for scenarios with a model server."""
SECRET = "sk-faults-5e3c"
"""That key. It must not be written to any file."""
MARK = "STEP_HRL_FAULTS_RUN"
"""An environment variable that every process of a run inherits, by which orphans are found."""
RUN_TIMEOUT_SECONDS = 240.0
ORPHAN_GRACE_SECONDS = 15.0
RESUME_HINT = "run the same command to resume"


class NotRecoveredError(AssertionError):
    """A run that did not recover from its faults.

    ``lost`` and ``duplicated`` count episodes, ``orphans`` counts processes that outlived the run. All three are 0
    where something else is wrong, such as different weights or a traceback.
    """

    def __init__(self, problem: str, *, lost: int = 0, duplicated: int = 0, orphans: int = 0) -> None:
        super().__init__(problem)
        self.lost = lost
        self.duplicated = duplicated
        self.orphans = orphans


Fault = Callable[["FaultHarness"], None]
"""Injects a fault into a running command and returns when that command has ended, with success or not."""


@dataclass(frozen=True)
class Scenario:
    """A recipe, the faults to inject into its run by name, and whether it needs a model server."""

    recipe: str
    faults: Mapping[str, Fault]
    served: bool = False


@dataclass
class FaultHarness:
    """A run in a folder of its own, and the faults injected so far."""

    folder: Path
    scenario: Scenario
    draw: random.Random
    faults: list[str] = field(default_factory=list[str])
    process: subprocess.Popen[bytes] | None = None
    size_limit: int | None = None
    environment: dict[str, str] = field(default_factory=dict[str, str])
    endpoint: Endpoint | None = None

    def __enter__(self) -> FaultHarness:
        self.folder.mkdir(parents=True)
        self.endpoint = Endpoint(self.folder) if self.scenario.served else None
        recipe = self.scenario.recipe.format(port=self.endpoint.port) if self.endpoint else self.scenario.recipe
        (self.folder / "small.yaml").write_text(recipe)
        return self

    def __exit__(self, *_: object) -> None:
        if self.endpoint:
            self.endpoint.stop()

    @property
    def run(self) -> Path:
        """The run's folder."""
        return self.folder / "runs/small"

    @property
    def main_process(self) -> subprocess.Popen[bytes]:
        """The process of the command."""
        assert self.process is not None, "the run has not been started"
        return self.process

    @property
    def stderr(self) -> str:
        """What the command wrote to standard error since its last start."""
        return (self.folder / "stderr").read_text(errors="replace")

    def start(self) -> None:
        """Start the command, which resumes where it was stopped."""
        with (self.folder / "stderr").open("wb") as stderr, (self.folder / "stdout").open("wb") as stdout:
            self.process = subprocess.Popen(
                [*COMMAND, "run", "small.yaml"],
                cwd=self.folder,
                env={**os.environ, "OMP_NUM_THREADS": "1", KEY: SECRET, MARK: str(self.folder), **self.environment},
                stdout=stdout,
                stderr=stderr,
                preexec_fn=self._limit_file_size,
                start_new_session=True,
            )

    def _limit_file_size(self) -> None:
        if self.size_limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.size_limit, self.size_limit))

    def wait(self) -> int:
        """Wait until the command and every process that it started have ended, and return its exit code."""
        try:
            code = self.main_process.wait(RUN_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self.main_process.kill()
            raise NotRecoveredError(f"{self.faults}: still running after {RUN_TIMEOUT_SECONDS:g} s") from None
        if left := kill_orphans(str(self.folder)):
            raise NotRecoveredError(f"{self.faults}: orphans {left}", orphans=len(left))
        if "Traceback" in (stderr := self.stderr):
            raise NotRecoveredError(f"{self.faults}: a traceback instead of an error message: {stderr[-3000:]}")
        return code

    def child(self, word: str) -> psutil.Process | None:
        """Return one of the run's processes with this word in its command line, or None if there is none."""
        deadline = time.monotonic() + 20
        while self.main_process.poll() is None and time.monotonic() < deadline:
            with suppress(psutil.Error):
                children = psutil.Process(self.main_process.pid).children(recursive=True)
                if found := [child for child in children if word in " ".join(child.cmdline())]:
                    return self.draw.choice(found)
            time.sleep(0.02)
        return None

    def finish(self) -> None:
        """Start the command and let it finish undisturbed."""
        self.start()
        if (code := self.wait()) != 0:
            raise NotRecoveredError(f"{self.faults}: the rerun ended with {code}: {self.stderr[-2000:]}")
        files = [file for file in self.folder.rglob("*") if file.is_file()]
        if leaks := [str(file) for file in files if SECRET.encode() in file.read_bytes()]:
            raise NotRecoveredError(f"{self.faults}: the API key was written to {leaks}")

    def expect(self, codes: Sequence[int]) -> None:
        """Wait for the command to end with 0 or one of these codes; an error must end in a one-line message."""
        code = self.wait()
        if code not in (0, *codes):
            raise NotRecoveredError(f"{self.faults}: ended with {code} instead of {codes}: {self.stderr[-2000:]}")
        if code > 0:
            last = self.stderr.strip().splitlines()[-1]
            if not last.startswith("step-hrl: ") or (code > 128 and RESUME_HINT not in last):
                raise NotRecoveredError(f"{self.faults}: ended with {code} and {last!r}")


def kill_orphans(mark: str) -> list[str]:
    """Kill the marked processes that are still alive after a grace period, and return their command lines."""
    deadline = time.monotonic() + ORPHAN_GRACE_SECONDS
    while (left := _marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.1)
    commands: list[str] = []
    for process in left:
        with suppress(psutil.NoSuchProcess):
            commands.append(" ".join(process.cmdline()))
            process.kill()
    return commands


def _marked(mark: str) -> list[psutil.Process]:
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@dataclass(frozen=True)
class EpisodeDigest:
    """The content of an episode without its provenance, which counts attempts."""

    digest: str
    error: str | None

    @classmethod
    def of(cls, episode: Episode) -> EpisodeDigest:
        """Digest an episode."""
        content = json.dumps([episode.score, [to_json(segment) for segment in episode.segments]])
        return cls(hashlib.sha256(content.encode()).hexdigest(), episode.error)


@dataclass(frozen=True)
class RunResult:
    """What a run has produced: episodes by file and id, and digests of the policies' weights by file."""

    episodes: dict[str, dict[str, EpisodeDigest]]
    weights: dict[str, str]

    @classmethod
    def of(cls, harness: FaultHarness) -> RunResult:
        """Read a run's folder. Raises NotRecoveredError for duplicated episodes."""
        episodes: dict[str, dict[str, EpisodeDigest]] = {}
        for file in sorted(harness.run.glob("**/episodes.jsonl")):
            found = read_episodes(file)
            name = str(file.relative_to(harness.run))
            if twice := [key for key, count in Counter(episode.id for episode in found).items() if count > 1]:
                raise NotRecoveredError(f"{harness.faults}: duplicated in {name}: {twice}", duplicated=len(twice))
            episodes[name] = {episode.id: EpisodeDigest.of(episode) for episode in found}
        weights = {
            str(file.relative_to(harness.run)): manifest.digest_file(file)
            for file in sorted(harness.run.glob("**/policy/*.safetensors"))
        }
        return cls(episodes, weights)


def reference_run(folder: Path, scenario: Scenario) -> tuple[RunResult, float]:
    """Run a scenario without faults; return its result and its duration in seconds."""
    begun = time.monotonic()
    with FaultHarness(folder, scenario, random.Random(0)) as harness:
        harness.finish()
        return RunResult.of(harness), time.monotonic() - begun


def check_recovery(
    folder: Path, scenario: Scenario, seed: int, faults: Sequence[str], reference: RunResult, duration: float
) -> None:
    """Inject faults into a scenario's run, one after another, and compare its result with an undisturbed run.

    Args:
        folder: of the run; it must not exist.
        scenario: what is run.
        seed: of the times at which faults are injected and of their parameters.
        faults: names of the scenario's faults, in order.
        reference: result of the undisturbed run.
        duration: of the undisturbed run, in seconds; faults are injected within this time after each start.

    Raises NotRecoveredError.
    """
    with FaultHarness(folder, scenario, random.Random(seed)) as harness:
        for fault in faults:
            harness.faults.append(fault)
            harness.start()
            time.sleep(harness.draw.uniform(0, duration))
            scenario.faults[fault](harness)
        harness.finish()
        result = RunResult.of(harness)
    lost = {name: set(found) - set(result.episodes.get(name, ())) for name, found in reference.episodes.items()}
    if any(lost.values()):
        raise NotRecoveredError(f"{harness.faults}: lost {lost}", lost=sum(map(len, lost.values())))
    if result != reference:
        differences = list(_differences(result, reference))
        raise NotRecoveredError(f"{harness.faults}: differs from the undisturbed run: {differences}")


def _differences(result: RunResult, reference: RunResult) -> Iterator[str]:
    yield from _differing_keys(result.weights, reference.weights)
    for name in {**result.episodes, **reference.episodes}:
        found = result.episodes.get(name, {})
        for key in _differing_keys(found, reference.episodes.get(name, {})):
            yield f"{name}: {key} ({(found[key].error if key in found else None) or 'other actions or score'})"


def _differing_keys(found: Mapping[str, object], expected: Mapping[str, object]) -> Iterator[str]:
    return (key for key in {**found, **expected} if found.get(key) != expected.get(key))
