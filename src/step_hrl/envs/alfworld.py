"""ALFWorld (Shridhar et al. 2021): the text games of ``alfworld-download``, played through textworld.

Besides the game's answer, each observation describes the visible objects within reach, the furniture of the room and
the inventory. The game's commands ``look``, ``examine`` and ``inventory`` give the same information. Descriptions that
repeat it are removed from ``text`` and kept in ``unabridged``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from step_hrl.config import Section
from step_hrl.envs.alfworld_games import DIALECT, NAME, TASK_TYPES, Games, damaged, data_folder, find_games
from step_hrl.envs.alfworld_speed import forget_old_facts, speed_up
from step_hrl.envs.base import Info, evenly
from step_hrl.errors import WorldError, did_you_mean
from step_hrl.types import Observation, Task

INSTALL = "pip install 'step-hrl[alfworld]' (it builds a planner: needs a C++ compiler, make and cmake)"
NOTHING_HAPPENS = "Nothing happens."
"""The game's answer to a command that is unknown or impossible."""

_TASK = "Your task is to: "
_NAME = re.compile(r"(\w+) (\d+)")


class AlfworldOptions(Section):
    """The options of a recipe under ``world.options``."""

    data: str | None = None
    """Folder that holds ``json_2.1.1``; None is ``$ALFWORLD_DATA``, by default ``~/.cache/alfworld``."""


@dataclass(frozen=True)
class Alfworld:
    """The ALFWorld benchmark: six task types; splits ``train``, ``dev`` (valid_train), ``seen`` and ``unseen``.

    A task's variation is the index of its game among those of its type and split, sorted by path.
    """

    options: AlfworldOptions = field(default_factory=AlfworldOptions)

    @property
    def name(self) -> str:
        """``alfworld``."""
        return NAME

    def tasks(self, split: str, names: Sequence[str] | None = None, per_task: int | None = None) -> list[Task]:
        """List a split's tasks, grouped by type; see :class:`~step_hrl.envs.base.World` and :func:`find_games`."""
        for name in names or ():
            if name not in TASK_TYPES:
                raise WorldError(f"{NAME} task {name!r}", "unknown", did_you_mean(name, TASK_TYPES))
        files = self._games(split).files
        return [
            Task(NAME, name, variation, split)
            for name in TASK_TYPES
            if names is None or name in names
            for variation in evenly(range(len(files[name])), per_task)
        ]

    def provenance(self, split: str) -> dict[str, str]:
        """Versions of the packages, dialect of the commands, and number and hash of the split's games."""
        games = self._games(split)
        left_out = f" ({games.unsolvable} unsolvable left out)" if games.unsolvable else ""
        return {
            "alfworld": _version("alfworld"),
            "textworld": _version("textworld"),
            "dialect": DIALECT,
            "games": f"{split}: {games.count}{left_out} sha256:{games.digest[:16]}",
        }

    def open(self) -> AlfworldFactory:
        """Load textworld. Raises :class:`~step_hrl.errors.WorldError` where it is not installed."""
        return AlfworldFactory(self._data)

    @property
    def _data(self) -> Path:
        return Path(self.options.data).expanduser() if self.options.data else data_folder()

    def _games(self, split: str) -> Games:
        return find_games(self._data, split)


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError as error:
        raise WorldError(NAME, f"the package {package} is not installed", INSTALL) from error


class AlfworldFactory:
    """Creates environments in this process. Not thread-safe: translating a problem changes process-wide state."""

    def __init__(self, data: Path) -> None:
        """Load the packages and add caches to them."""
        for package in ("alfworld", "textworld"):
            _version(package)
        try:
            self._pddl: Any = import_module("textworld.envs.pddl")
            self._wrappers: Any = import_module("alfworld.agents.environment.alfred_tw_env")
        except ImportError as error:
            raise WorldError(NAME, f"does not load ({error})", INSTALL) from error
        speed_up()
        self._data = data

    def env(self) -> AlfworldEnv:
        """Create an environment."""
        infos: Any = import_module("textworld").EnvInfos(won=True, facts=True)
        return AlfworldEnv(self._wrappers.AlfredDemangler(self._pddl.PddlEnv(infos)), self._data)

    def close(self) -> None:
        """Keep the library loaded, because unloading it crashes; it ends with the process."""


class AlfworldEnv:
    """An ALFWorld environment. The score is 1 once the game is won, else 0."""

    def __init__(self, game: Any, data: Path) -> None:
        self._game = game
        self._data = data
        self._loaded: Path | None = None

    def reset(self, task: Task, *, seed: int = 0) -> tuple[Observation, Info]:
        """Load and start a game (deterministic: the seed has no effect)."""
        file = self._file(task)
        try:
            if file != self._loaded:
                self._loaded = None
                forget_old_facts()
                self._game.load(str(file))
                self._loaded = file
            state = self._game.reset()
        except (Exception, SystemExit) as error:  # the planner's parser calls sys.exit on a syntax error
            raise damaged(file, error) from error
        _, _, intro = str(state.feedback).partition("\n\n")
        answer, _, instruction = intro.partition(_TASK)
        return self._observe(answer, state), {"instruction": instruction.strip().rstrip(".")}

    def step(self, action: str) -> tuple[Observation, float, bool, bool, Info]:
        """Execute a command; an unknown or impossible one has no effect. Raises WorldError before the first reset."""
        if self._loaded is None:
            raise WorldError(NAME, "a step before any reset", "call reset(task) first")
        state, _, _ = self._game.step(action)
        answer, won = str(state.feedback), bool(state["won"])
        info: Info = {"score": float(won), "success": won, "is_valid_action": answer != NOTHING_HAPPENS}
        return self._observe(answer, state), float(won), won, False, info

    def _file(self, task: Task) -> Path:
        files = find_games(self._data, task.split).files.get(task.name)
        if files is None:
            raise WorldError(f"{NAME} task {task.name!r}", "unknown", did_you_mean(task.name, TASK_TYPES))
        if not 0 <= task.variation < len(files):
            raise WorldError(f"{NAME} task {task.key}", "no such variation", f"choose 0 to {len(files) - 1}")
        return files[task.variation]

    def _observe(self, answer: str, state: Any) -> Observation:
        facts = [(str(fact.name), [str(argument.name) for argument in fact.arguments]) for fact in state["facts"]]
        unabridged = " ".join(answer.split())
        return Observation(first_sentence(unabridged), look(facts), inventory(facts), unabridged)


def first_sentence(answer: str) -> str:
    """The first sentence of an answer, which states the effect; the others list visible objects.

    >>> first_sentence("You arrive at shelf 1. On the shelf 1, you see a mug 2, and a mug 1.")
    'You arrive at shelf 1.'
    """
    sentence, separator, _ = answer.partition(". ")
    return f"{sentence}." if separator else answer


Facts = Iterable[tuple[str, Sequence[str]]]
"""Predicates of the game with the names of their arguments, such as ``("inreceptacle", ("mug 1", "desk 1"))``."""


def look(facts: Facts) -> str:
    """The visible objects on or in each piece of furniture within reach, and the furniture of the room.

    Several pieces may be within reach at once, such as a desk and its drawers; the game then has no command to go to
    them.

    >>> look([("atlocation", ["agent", "loc 1"]), ("inreceptacle", ["pen 1", "desk 1"]), ("openable", ["drawer 1"]),
    ...     *(("receptacleatlocation", [name, at]) for name, at in
    ...     (("desk 1", "loc 1"), ("drawer 2", "loc 2"), ("drawer 1", "loc 1")))])
    'At desk 1: pen 1. At drawer 1: closed. Room: desk 1, drawer 1-2.'
    """
    named: dict[str, list[Sequence[str]]] = {}
    for predicate, names in facts:
        named.setdefault(predicate, []).append(names)
    here = {location for _, location in named.get("atlocation", [])}
    furniture = named.get("receptacleatlocation", [])
    closed = {name for name, *_ in named.get("openable", [])} - {name for name, *_ in named.get("opened", [])}
    things: dict[str, list[str]] = {name: [] for name, location in furniture if location in here}
    for thing, place in named.get("inreceptacle", []):
        if place in things:
            things[place].append(thing)
    sights = [
        f"At {name}: {'closed' if name in closed else ', '.join(sorted(things[name], key=_by_number)) or 'nothing'}."
        for name in sorted(things, key=_by_number)
    ]
    return " ".join([*sights, f"Room: {', '.join(spans(name for name, _ in furniture))}."])


def inventory(facts: Facts) -> str:
    """The objects held."""
    return ", ".join(names[1] for predicate, names in facts if predicate == "holds")


def spans(names: Iterable[str]) -> list[str]:
    """Numbered names in order, consecutive numbers joined.

    >>> spans(["drawer 2", "bed 1", "drawer 10", "drawer 1", "drawer 3"])
    ['bed 1', 'drawer 1-3', 'drawer 10']
    """
    ranges: list[tuple[str, int, int]] = []
    for kind, number in sorted({_by_number(name) for name in names}):
        if ranges and ranges[-1][0] == kind and ranges[-1][2] == number - 1:
            ranges[-1] = (kind, ranges[-1][1], number)
        else:
            ranges.append((kind, number, number))
    return [f"{kind} {first}" if first == last else f"{kind} {first}-{last}" for kind, first, last in ranges]


def _by_number(name: str) -> tuple[str, int]:
    match = _NAME.fullmatch(name)
    return (match[1], int(match[2])) if match else (name, 0)
