"""Runs that are hurt at moments a seed draws, and then compared with one that was left alone.

``python -m tests.faults.ordeal --faults 100`` prints what became of them, by kind. Every run has both stages: it is
hurt, waited for, begun again, hurt again, and at last left to end. Then its episodes and weights must be those of the
run that was left alone, and nothing it started may be alive.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from step_hrl import stamps
from step_hrl.records import to_json
from step_hrl.storage import read_episodes
from step_hrl.types import Episode

RECIPE = """\
name: small
world:
  name: pantry
  tasks: [put-one, clean-then-put]
  action_limit: 8
  workers: 2
  simulators_per_worker: 2
  step_timeout_seconds: 10
demonstrations: {per_task: 10, perturbed: 0.1, action_limit: 30}
backbone: {tiny: {width: 16, layers: 1, heads: 2, vocabulary: 300, context: 512}}
behavior_cloning: {epochs: 1, tokens_per_batch: 1024, checkpoint_every: 10, log_every: 2, trackers: []}
collection: {per_task: 4}
offline_rl: {epochs: 1, critic_warmup: 2, checkpoint_every: 5, log_every: 2, tokens_per_batch: 1024, trackers: []}
generation: {max_new_tokens: {high: 6, low: 8, progress: 8}}
evaluation: {splits: [seen], per_task: 4, concurrent: 4}
"""
COMMAND = [sys.executable, "-c", "import sys; from step_hrl.cli import main; sys.argv[0] = 'step-hrl'; main()"]
MARK = "STEP_HRL_ORDEAL"
"""An environment variable that all a run starts inherits."""
PATIENCE_SECONDS = 240.0
GRACE_SECONDS = 15.0
GOES_ON = "run the same command to go on"


class FellShortError(AssertionError):
    """A run that did not come through whole."""


@dataclass
class Ordeal:
    """A run in a folder of its own, and the faults it has met."""

    folder: Path
    draw: random.Random
    faults: list[str] = field(default_factory=list[str])
    process: subprocess.Popen[bytes] | None = None
    size_limit: int | None = None

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        (self.folder / "small.yaml").write_text(RECIPE)

    @property
    def run(self) -> Path:
        """The run's folder."""
        return self.folder / "runs/small"

    def start(self) -> None:
        """Begin the run, or go on with it."""
        with (self.folder / "stderr").open("wb") as stderr, (self.folder / "stdout").open("wb") as stdout:
            self.process = subprocess.Popen(
                [*COMMAND, "run", "small.yaml"],
                cwd=self.folder,
                env={**os.environ, MARK: str(self.folder)},
                stdout=stdout,
                stderr=stderr,
                preexec_fn=self._limit,
            )

    def _limit(self) -> None:
        if self.size_limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.size_limit, self.size_limit))

    def wait(self) -> int:
        """The exit code, once the run and all it started have ended."""
        assert self.process is not None
        try:
            code = self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
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
        assert self.process is not None
        deadline = time.monotonic() + 20
        while self.process.poll() is None and time.monotonic() < deadline:
            with suppress(psutil.Error):
                children = psutil.Process(self.process.pid).children(recursive=True)
                if found := [child for child in children if kind in " ".join(child.cmdline())]:
                    return self.draw.choice(found)
            time.sleep(0.02)
        return None

    def finish(self) -> None:
        """Leave the run alone until it has ended well."""
        self.size_limit = None
        self.start()
        if (code := self.wait()) != 0:
            raise FellShortError(f"{self.faults}: rerun ended with {code}: {self.said[-2000:]}")

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


def _kill_main(ordeal: Ordeal) -> None:
    assert ordeal.process is not None
    ordeal.process.kill()
    ordeal.expect([-signal.SIGKILL])


def _ask_to_stop(number: signal.Signals) -> Callable[[Ordeal], None]:
    def fault(ordeal: Ordeal) -> None:
        assert ordeal.process is not None
        ordeal.process.send_signal(number)
        # Before the command listens, while Python starts, a signal has its usual effect.
        ordeal.expect([128 + number, -number])

    return fault


def _insist(ordeal: Ordeal) -> None:
    assert ordeal.process is not None
    ordeal.process.send_signal(signal.SIGINT)
    time.sleep(ordeal.draw.uniform(0, 0.5))
    ordeal.process.send_signal(signal.SIGINT)
    ordeal.expect([130, -signal.SIGINT])


def _kill_world(ordeal: Ordeal) -> None:
    if child := ordeal.child("multiprocessing"):
        with suppress(psutil.NoSuchProcess):
            child.kill()
    ordeal.expect([])


def _hang_world(ordeal: Ordeal) -> None:
    if child := ordeal.child("multiprocessing"):
        with suppress(psutil.NoSuchProcess):
            child.suspend()
    ordeal.expect([])


def _fill_disk(ordeal: Ordeal) -> None:
    """Begun again where no file may grow beyond some size."""
    _kill_main(ordeal)
    ordeal.size_limit = round(2 ** ordeal.draw.uniform(9, 18))
    ordeal.start()
    ordeal.expect([2])
    ordeal.size_limit = None


def _block_folder(ordeal: Ordeal) -> None:
    """Begun again where a file stands in the way of a stage's folder."""
    _kill_main(ordeal)
    stages = ("demonstrations", "behavior_cloning", "collection", "offline_rl", "evaluation")
    free = [ordeal.run / stage for stage in stages if not (ordeal.run / stage).exists()]
    if free:
        place = ordeal.draw.choice(free)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("in the way")
    ordeal.start()
    ordeal.expect([2] if free else [])
    if free:
        place.unlink()


def _tear_line(ordeal: Ordeal) -> None:
    """What a power cut leaves: the last line of a file of episodes cut short."""
    _kill_main(ordeal)
    files = [file for file in ordeal.run.glob("**/episodes.jsonl") if file.stat().st_size]
    if files:
        file = ordeal.draw.choice(files)
        content = file.read_bytes()
        start = content.rstrip(b"\n").rfind(b"\n") + 1
        file.write_bytes(content[: ordeal.draw.randrange(start, len(content))])


KINDS: dict[str, Callable[[Ordeal], None]] = {
    "kill -9": _kill_main,
    "SIGINT": _ask_to_stop(signal.SIGINT),
    "SIGTERM": _ask_to_stop(signal.SIGTERM),
    "SIGINT twice": _insist,
    "world killed": _kill_world,
    "world hangs": _hang_world,
    "full disk": _fill_disk,
    "blocked folder": _block_folder,
    "torn line": _tear_line,
}
"""What may befall a run. Each leaves it ended, well or not."""


@dataclass(frozen=True)
class Survey:
    """What a run has made: digests of episodes by file and id, and of policies' weights."""

    episodes: dict[str, dict[str, str]]
    weights: dict[str, str]

    @classmethod
    def of(cls, ordeal: Ordeal) -> Survey:
        """Look through a run's folder. Raises FellShortError for an episode that is counted twice."""
        episodes: dict[str, dict[str, str]] = {}
        for file in sorted(ordeal.run.glob("**/episodes.jsonl")):
            found = read_episodes(file)
            name = str(file.relative_to(ordeal.run))
            twice = [key for key, count in Counter(episode.id for episode in found).items() if count > 1]
            if twice:
                raise FellShortError(f"{ordeal.faults}: {name} holds {twice} twice")
            episodes[name] = {episode.id: _digest(episode) for episode in found}
        weights = {
            str(file.relative_to(ordeal.run)): stamps.digest_file(file)
            for file in sorted(ordeal.run.glob("**/policy/*.safetensors"))
        }
        return cls(episodes, weights)


def _digest(episode: Episode) -> str:
    """Of what was lived; how often it was tried is another matter."""
    lived = json.dumps([to_json(segment) for segment in episode.segments])
    return hashlib.sha256(f"{episode.score} {episode.error} {lived}".encode()).hexdigest()[:16]


def endure(folder: Path, seed: int, kinds: Sequence[str], whole: Survey, span: float) -> None:
    """Hurt a run in these ways, one after another, and compare what it ends with.

    ``span`` is how long a run takes that is left alone, in seconds. Raises FellShortError.
    """
    ordeal = Ordeal(folder, random.Random(seed))
    for kind in kinds:
        ordeal.faults.append(kind)
        ordeal.start()
        assert ordeal.process is not None
        time.sleep(ordeal.draw.uniform(0, span))
        KINDS[kind](ordeal)
    ordeal.finish()
    survey = Survey.of(ordeal)
    lost = {name: set(found) - set(survey.episodes.get(name, ())) for name, found in whole.episodes.items()}
    if any(lost.values()):
        raise FellShortError(f"{ordeal.faults}: lost {lost}")
    if survey != whole:
        raise FellShortError(f"{ordeal.faults}: other than left alone: {_differences(survey, whole)}")


def _differences(survey: Survey, whole: Survey) -> list[str]:
    different = list(_keys_of_others(survey.weights, whole.weights))
    for name in {**survey.episodes, **whole.episodes}:
        pair = survey.episodes.get(name, {}), whole.episodes.get(name, {})
        different += [f"{name}: {key}" for key in _keys_of_others(*pair)]
    return different


def _keys_of_others(found: Mapping[str, str], wanted: Mapping[str, str]) -> Iterator[str]:
    return (key for key in {**found, **wanted} if found.get(key) != wanted.get(key))


def left_alone(folder: Path) -> tuple[Survey, float]:
    """What a run makes that nothing befalls, and the seconds it takes."""
    ordeal, since = Ordeal(folder, random.Random(0)), time.monotonic()
    ordeal.finish()
    return Survey.of(ordeal), time.monotonic() - since


def plans(faults: int, each: int) -> Iterator[tuple[int, list[str]]]:
    """Seeds, and what is to befall each run; all kinds equally often."""
    kinds = [list(KINDS)[number % len(KINDS)] for number in range(faults)]
    random.Random(0).shuffle(kinds)
    for seed, start in enumerate(range(0, faults, each)):
        yield seed, kinds[start : start + each]


def main() -> int:
    """Let runs endure as many faults as the command line says, and print what became of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=100)
    parser.add_argument("--each", type=int, default=5, help="faults a run")
    options = parser.parse_args()
    console = Console()
    met, survived = Counter[str](), Counter[str]()
    problems: list[str] = []
    with tempfile.TemporaryDirectory(prefix="step-hrl-faults-") as scratch:
        whole, span = left_alone(Path(scratch) / "whole")
        for seed, kinds in plans(options.faults, options.each):
            met.update(kinds)
            try:
                endure(Path(scratch) / str(seed), seed, kinds, whole, span)
                survived.update(kinds)
            except FellShortError as problem:
                problems.append(f"seed {seed}: {problem}")
            console.print(f"{met.total()} faults, {survived.total()} survived", highlight=False)
    table = Table("kind", "faults", "survived")
    for kind in KINDS:
        table.add_row(kind, str(met[kind]), str(survived[kind]))
    table.add_row("all", str(met.total()), str(survived.total()))
    console.print(table)
    for problem in problems:
        console.print(problem, markup=False, style="red")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
