"""Experiment trackers, which get the metrics besides the JSON lines; their own output is discarded."""

from __future__ import annotations

import contextlib
import importlib
import io
from collections.abc import Generator, Mapping, Sequence
from importlib import metadata
from typing import Any, cast

from rich.console import Console

from step_hrl.errors import RecipeError

DEFAULT = "trackio"
"""The tracker used by default if it is installed: it stores metrics on this machine, without an account."""
PROJECT = "step-hrl"


def chosen(names: Sequence[str] | None) -> tuple[str, ...]:
    """Return the trackers to use: those named, or for None the default one if it is installed.

    Raises :class:`~step_hrl.errors.RecipeError` where a named one is not installed.
    """
    if names is None:
        return (DEFAULT,) if _installed(DEFAULT) else ()
    for name in names:
        if not _installed(name):
            raise RecipeError("trackers", f"{name} is not installed", f"pip install {name}, or remove it from trackers")
    return tuple(names)


@contextlib.contextmanager
def tracking(accelerator: Any, run: str, settings: Mapping[str, Any], console: Console) -> Generator[None]:
    """Run the accelerator's trackers in a block.

    ``run`` is the name of the training run; trackio resumes an interrupted run of the same name. Raises
    :class:`~step_hrl.errors.RecipeError` where a tracker cannot be started.
    """
    names = [str(name) for name in accelerator.log_with]
    # Without trackio's notebook widget and its monitoring of the machine.
    trackio = {"name": run, "resume": "allow", "embed": False, "auto_log_cpu": False}
    try:
        with _discard_stdout():
            accelerator.init_trackers(PROJECT, flat(settings), {"trackio": trackio, "wandb": {"name": run}})
    except Exception as error:
        remedy = "correct that, or set trackers to [] to use none"
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise RecipeError("trackers", f"{', '.join(names)} cannot be started ({reason})", remedy) from error
    if "trackio" in names:
        console.print(f"metrics also go to trackio: trackio show --project {PROJECT}", markup=False, highlight=False)
    try:
        yield
    finally:
        # Not `end_training`, which would also destroy the process group that the next stage of a launcher needs.
        with _discard_stdout():
            for tracker in accelerator.trackers if accelerator.is_main_process else ():
                # Accelerate's tracker leaves the run current: trackio would finish it again at exit, and print.
                finisher = importlib.import_module("trackio") if tracker.name == "trackio" else tracker
                finisher.finish()


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str | int | float]:
    """Flatten nested settings to dotted keys and plain values, the only ones that trackers take.

    >>> flat({"epochs": 2.0, "role_weights": {"low": 1.0}, "trackers": ["tensorboard"]})
    {'epochs': 2.0, 'role_weights.low': 1.0, 'trackers': "['tensorboard']"}
    """
    values: dict[str, str | int | float] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            values.update(flat(cast(Mapping[str, Any], value), f"{prefix}{key}."))
        else:
            values[prefix + key] = value if isinstance(value, (str, int, float)) else str(value)
    return values


def _installed(name: str) -> bool:
    # Not find_spec: wandb creates a folder named wandb in the working directory, which would count as a module.
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _discard_stdout() -> contextlib.redirect_stdout[io.StringIO]:
    return contextlib.redirect_stdout(io.StringIO())
