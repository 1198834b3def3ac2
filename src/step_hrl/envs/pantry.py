"""``pantry``: a small household in pure Python, for tests and for a first run that takes a minute.

Four rooms, furniture that opens, and six objects, of which one is carried at a time. Deterministic: the variation of a
task determines everything, and the seed has no effect.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from step_hrl.envs.base import Info, TextEnv, evenly
from step_hrl.envs.pantry_home import Home, preposition
from step_hrl.envs.pantry_houses import TASK_NAMES, VARIATIONS, Goal, fingerprint, game
from step_hrl.errors import WorldError, did_you_mean
from step_hrl.types import Observation, Task

NOTHING_HAPPENS = "Nothing happens."
"""The answer to an action that is unknown or impossible."""


@dataclass(frozen=True)
class PantryWorld:
    """Four tasks of 320 variations each: splits ``train`` (200), ``seen`` (20) and ``unseen`` (100)."""

    name: str = "pantry"

    def tasks(self, split: str, names: Sequence[str] | None = None, per_task: int | None = None) -> list[Task]:
        """List a split's tasks, grouped by name. Raises WorldError for an unknown split or task name."""
        if split not in VARIATIONS:
            raise WorldError("pantry", f"no split {split!r}", did_you_mean(split, VARIATIONS))
        for name in names or ():
            _check_name(name)
        return [
            Task(self.name, name, variation, split)
            for name in TASK_NAMES
            if names is None or name in names
            for variation in evenly(VARIATIONS[split], per_task)
        ]

    def provenance(self, split: str) -> dict[str, str]:
        """The hash over all houses and goals."""
        return {"world": self.name, "pantry_layouts": fingerprint()}

    def open(self) -> PantryFactory:
        """Create the factory; nothing has to be started."""
        return PantryFactory()


class PantryFactory:
    """Creates environments, which share no state."""

    def env(self) -> TextEnv:
        """Create an environment."""
        return PantryEnv()

    def close(self) -> None:
        """Nothing has to be stopped."""


class PantryEnv:
    """A pantry environment.

    The score is the weighted share of sub-goals reached, and decreases when an object is removed from its place.
    Rewards are multiples of 1/4, so they sum to the score exactly; the episode terminates at a score of 1.
    """

    def __init__(self) -> None:
        self._home: Home | None = None
        self._task = ""
        self._goal = Goal((), None)
        self._score = 0.0

    def reset(self, task: Task, *, seed: int = 0) -> tuple[Observation, Info]:
        """Start an episode. Raises WorldError for an unknown task or variation; the seed has no effect."""
        _check_name(task.name)
        if not any(task.variation in variations for variations in VARIATIONS.values()):
            raise WorldError("pantry", f"no variation {task.variation} of {task.name}", "choose 0 to 319")
        played = game(task.name, task.variation)
        self._home = Home(played.house, played.start)
        self._task, self._goal, self._score = task.name, played.goal, 0.0
        answer = f"You start in the {played.start}."
        return _observation(self._home, answer), {"instruction": instruction(task.name, played.goal)}

    def step(self, action: str) -> tuple[Observation, float, bool, bool, Info]:
        """Execute an action; an unknown or impossible one has no effect. Raises WorldError before the first reset."""
        if self._home is None:
            raise WorldError("pantry", "a step before any reset", "call reset(task) first")
        answer = self._home.act(action)
        before, self._score = self._score, score(self._task, self._goal, self._home)
        success = self._score == 1.0
        info: Info = {"score": self._score, "success": success, "is_valid_action": answer is not None}
        return _observation(self._home, answer or NOTHING_HAPPENS), self._score - before, success, False, info


def instruction(task: str, goal: Goal) -> str:
    """The instruction, such as ``put apple in fridge`` or ``examine book under lamp``."""
    things = " and ".join(goal.objects)
    if goal.place is None:
        return f"examine {things} under lamp"
    return f"put {'clean ' if task == 'clean-then-put' else ''}{things} {preposition(goal.place)} {goal.place}"


def score(task: str, goal: Goal, home: Home) -> float:
    """The weighted share of a task's sub-goals that are reached, in [0, 1]."""
    taken = sum(thing in home.taken for thing in goal.objects)
    placed = sum(home.objects.get(thing) == goal.place for thing in goal.objects)
    if task == "put-two":
        return 0.25 * taken + 0.25 * placed
    if task == "clean-then-put":
        cleaned = goal.objects[0] in home.clean
        return 0.25 * taken + 0.25 * cleaned + 0.5 * (cleaned and placed)
    if task == "examine-in-light":
        return 0.5 * taken + 0.5 * (goal.objects[0] in home.examined)
    return 0.5 * taken + 0.5 * placed


def _observation(home: Home, answer: str) -> Observation:
    return Observation(answer, home.look(), home.inventory())


def _check_name(name: str) -> None:
    if name not in TASK_NAMES:
        raise WorldError("pantry", f"no task {name!r}", did_you_mean(name, TASK_NAMES))
