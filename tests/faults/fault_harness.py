"""A run that is hurt at moments a seed draws, and then compared with one that was left alone.

It is hurt, waited for, begun again, hurt again, and at last left to end. Then its episodes and weights must be those of
the run that was left alone, and nothing it started may be alive.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import subprocess
import sys
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
from tests.faults.endpoint import Endpoint

COMMAND = [sys.executable, "-c", "import sys; from step_hrl.cli.main import main; sys.argv[0] = 'step-hrl'; main()"]
KEY = "STEP_HRL_ORDEAL_KEY"
"""Holds the key for the server of a course that has one."""
SECRET = "sk-ordeal-5e3c"
"""That key; it must stand in no file."""
MARK = "STEP_HRL_ORDEAL"
"""An environment variable that all a run starts inherits."""
PATIENCE_SECONDS = 240.0
GRACE_SECONDS = 15.0
GOES_ON = "run the same command to go on"


class FellShortError(AssertionError):
    """A run that did not come through whole."""


Fault = Callable[["Ordeal"], None]
"""Befalls a run that is under way, and leaves it ended, well or not."""


@dataclass(frozen=True)
class Course:
    """A recipe, what may befall its run, and whether it plays a model that a server of its own gives."""

    recipe: str
    faults: Mapping[str, Fault]
    served: bool = False


@dataclass
class Ordeal:
    """A run in a folder of its own, and the faults it has met."""

    folder: Path
    course: Course
    draw: random.Random
    faults: list[str] = field(default_factory=list[str])
    process: subprocess.Popen[bytes] | None = None
    size_limit: int | None = None
    environment: dict[str, str] = field(default_factory=dict[str, str])
    endpoint: Endpoint | None = None

    def __enter__(self) -> Ordeal:
        self.folder.mkdir(parents=True)
        self.endpoint = Endpoint(self.folder) if self.course.served else None
        recipe = self.course.recipe.format(port=self.endpoint.port) if self.endpoint else self.course.recipe
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
    def under_way(self) -> subprocess.Popen[bytes]:
        """The run's main process."""
        assert self.process is not None, "it was started"
        return self.process

    def start(self) -> None:
        """Begin the run, or go on with it."""
        with (self.folder / "stderr").open("wb") as stderr, (self.folder / "stdout").open("wb") as stdout:
            self.process = subprocess.Popen(
                [*COMMAND, "run", "small.yaml"],
                cwd=self.folder,
                env={**os.environ, "OMP_NUM_THREADS": "1", KEY: SECRET, MARK: str(self.folder), **self.environment},
                stdout=stdout,
                stderr=stderr,
                preexec_fn=self._limit,
                start_new_session=True,
            )

    def _limit(self) -> None:
        if self.size_limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.size_limit, self.size_limit))

    def wait(self) -> int:
        """The exit code, once the run and all it started have ended."""
        try:
            code = self.under_way.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.under_way.kill()
            raise FellShortError(f"{self.faults}: still at work after {PATIENCE_SECONDS:g} s") from None
        if orphans := outlived(str(self.folder)):
            raise FellShortError(f"{self.faults}: orphans {orphans}")
        if "Traceback" in (said := self.said):
            raise FellShortError(f"{self.faults}: a traceback instead of a line: {said[-3000:]}")
        return code

    @property
    def said(self) -> str:
        """What the run has said on standard error."""
        return (self.folder / "stderr").read_text(errors="replace")

    def child(self, kind: str) -> psutil.Process | None:
        """One of the run's processes whose command holds a word; None where there is none (any more)."""
        deadline = time.monotonic() + 20
        while self.under_way.poll() is None and time.monotonic() < deadline:
            with suppress(psutil.Error):
                children = psutil.Process(self.under_way.pid).children(recursive=True)
                if found := [child for child in children if kind in " ".join(child.cmdline())]:
                    return self.draw.choice(found)
            time.sleep(0.02)
        return None

    def finish(self) -> None:
        """Leave the run alone until it has ended well."""
        self.start()
        if (code := self.wait()) != 0:
            raise FellShortError(f"{self.faults}: rerun ended with {code}: {self.said[-2000:]}")
        files = [file for file in self.folder.rglob("*") if file.is_file()]
        if told := [str(file) for file in files if SECRET.encode() in file.read_bytes()]:
            raise FellShortError(f"{self.faults}: the key stands in {told}")

    def expect(self, codes: Sequence[int]) -> None:
        """Wait for the run's end. A code other than 0 comes with one line that says what to do."""
        code = self.wait()
        if code not in (0, *codes):
            raise FellShortError(f"{self.faults}: ended with {code} instead of {codes}: {self.said[-2000:]}")
        if code > 0:
            last = self.said.strip().splitlines()[-1]
            if not last.startswith("step-hrl: ") or (code > 128 and GOES_ON not in last):
                raise FellShortError(f"{self.faults}: ended with {code} and {last!r}")


def outlived(mark: str) -> list[str]:
    """Commands of the marked processes that are still there after a while; they are ended."""
    deadline = time.monotonic() + GRACE_SECONDS
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
class Lived:
    """What an episode was: how often it was tried is another matter."""

    digest: str
    error: str | None

    @classmethod
    def by(cls, episode: Episode) -> Lived:
        """Of an episode."""
        told = json.dumps([episode.score, [to_json(segment) for segment in episode.segments]])
        return cls(hashlib.sha256(told.encode()).hexdigest(), episode.error)


@dataclass(frozen=True)
class Survey:
    """What a run has made: episodes by file and id, and digests of policies' weights."""

    episodes: dict[str, dict[str, Lived]]
    weights: dict[str, str]

    @classmethod
    def of(cls, ordeal: Ordeal) -> Survey:
        """Look through a run's folder. Raises FellShortError for an episode that is counted twice."""
        episodes: dict[str, dict[str, Lived]] = {}
        for file in sorted(ordeal.run.glob("**/episodes.jsonl")):
            found = read_episodes(file)
            name = str(file.relative_to(ordeal.run))
            twice = [key for key, count in Counter(episode.id for episode in found).items() if count > 1]
            if twice:
                raise FellShortError(f"{ordeal.faults}: {name} holds {twice} twice")
            episodes[name] = {episode.id: Lived.by(episode) for episode in found}
        weights = {
            str(file.relative_to(ordeal.run)): manifest.digest_file(file)
            for file in sorted(ordeal.run.glob("**/policy/*.safetensors"))
        }
        return cls(episodes, weights)


def endure(folder: Path, course: Course, seed: int, kinds: Sequence[str], whole: Survey, span: float) -> None:
    """Hurt a course's run in these ways, one after another, and compare what it ends with.

    ``span`` is how long a run takes that is left alone, in seconds. Raises FellShortError.
    """
    with Ordeal(folder, course, random.Random(seed)) as ordeal:
        for kind in kinds:
            ordeal.faults.append(kind)
            ordeal.start()
            time.sleep(ordeal.draw.uniform(0, span))
            course.faults[kind](ordeal)
        ordeal.finish()
        survey = Survey.of(ordeal)
    lost = {name: set(found) - set(survey.episodes.get(name, ())) for name, found in whole.episodes.items()}
    if any(lost.values()):
        raise FellShortError(f"{ordeal.faults}: lost {lost}")
    if survey != whole:
        raise FellShortError(f"{ordeal.faults}: other than left alone: {list(_differences(survey, whole))}")


def _differences(survey: Survey, whole: Survey) -> Iterator[str]:
    yield from _keys_of_others(survey.weights, whole.weights)
    for name in {**survey.episodes, **whole.episodes}:
        found = survey.episodes.get(name, {})
        for key in _keys_of_others(found, whole.episodes.get(name, {})):
            yield f"{name}: {key} ({(found[key].error if key in found else None) or 'went another way'})"


def _keys_of_others(found: Mapping[str, object], wanted: Mapping[str, object]) -> Iterator[str]:
    return (key for key in {**found, **wanted} if found.get(key) != wanted.get(key))


def left_alone(folder: Path, course: Course) -> tuple[Survey, float]:
    """What a run makes that nothing befalls, and the seconds it takes."""
    since = time.monotonic()
    with Ordeal(folder, course, random.Random(0)) as ordeal:
        ordeal.finish()
        return Survey.of(ordeal), time.monotonic() - since
