"""Errors that users can fix: each is one line with location, cause and remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class StepHrlError(Exception):
    """Base of all errors a user can fix. Commands print it as one line and exit with code 2."""

    def __init__(self, where: str, got: str, remedy: str) -> None:
        """Say where it happened, what was got, and what to do."""
        super().__init__(f"{where}: {got}; {remedy}")
        self.where = where
        self.got = got
        self.remedy = remedy

    def __reduce__(self) -> tuple[type[StepHrlError], tuple[str, str, str]]:
        # Errors cross the pipes of workers; by default, pickle would call the constructor with one argument.
        return type(self), (self.where, self.got, self.remedy)


class RecipeError(StepHrlError):
    """A recipe or an override that cannot be used as written."""


class DataError(StepHrlError):
    """An episode file, manifest or checkpoint that is missing, damaged or of the wrong kind."""


class WorldError(StepHrlError):
    """A task, variation or world that does not exist or cannot be started."""


class ModelError(StepHrlError):
    """A backbone or tokenizer that cannot be loaded or trained."""


class WorkerLost(StepHrlError):
    """A worker process, or the simulator in it, that died or hung; its episode may be retried."""


class UnreadableReply(Exception):
    """A policy's utterance that cannot be parsed. Agents catch it: it becomes an invalid action."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``did you mean X?`` for the closest known word, else the list of known words.

    >>> did_you_mean("gama", ["gamma", "tau"])
    'did you mean gamma?'
    >>> did_you_mean("zzz", ["gamma", "tau"])
    'known: gamma, tau'
    """
    names = list(known)
    close = difflib.get_close_matches(word, names, n=1)
    return f"did you mean {close[0]}?" if close else "known: " + ", ".join(names)
