"""Where metrics go besides the JSON lines: trackers, started and ended without a word of their own."""

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
"""The tracker nobody has to ask for: it keeps what it gets on this machine, without an account."""
PROJECT = "step-hrl"


def chosen(names: Sequence[str] | None) -> tuple[str, ...]:
    """The trackers that are meant: those named, or for None the default one where it is installed.

    Raises :class:`~step_hrl.errors.RecipeError` where one that is named is not installed.
    """
    if names is None:
        return (DEFAULT,) if _installed(DEFAULT) else ()
    for name in names:
        if not _installed(name):
            raise RecipeError("trackers", f"{name} is not installed", f"pip install {name}, or remove it from trackers")
    return tuple(names)


@contextlib.contextmanager
def tracking(accelerator: Any, run: str, settings: Mapping[str, Any], console: Console) -> Generator[None]:
    """Pass what is logged inside on to the accelerator's trackers.

    ``run`` names the training there; one of the same name that was interrupted is gone on with in trackio. Raises
    :class:`~step_hrl.errors.RecipeError` where a tracker cannot be started.
    """
    names = [str(name) for name in accelerator.log_with]
    # Its display in notebooks and its watch over the whole machine are not asked for.
    trackio = {"name": run, "resume": "allow", "embed": False, "auto_log_cpu": False}
    try:
        with _hushed():
            accelerator.init_trackers(PROJECT, flat(settings), {"trackio": trackio, "wandb": {"name": run}})
    except Exception as error:
        remedy = "mend that, or set trackers to [] to do without"
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise RecipeError("trackers", f"{', '.join(names)} cannot be started ({reason})", remedy) from error
    if "trackio" in names:
        console.print(f"metrics also go to trackio: trackio show --project {PROJECT}", markup=False, highlight=False)
    try:
        yield
    finally:
        # Not `end_training`: it would also end the process group, which a launcher's next stage still needs.
        with _hushed():
            for tracker in accelerator.trackers if accelerator.is_main_process else ():
                # Accelerate ends the run and leaves it the current one: trackio would end it again, aloud, at exit.
                ended = importlib.import_module("trackio") if tracker.name == "trackio" else tracker
                ended.finish()


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str | int | float]:
    """Nested settings as one level of plain values, which is all that trackers take.

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
    # Not by looking for a module: wandb leaves a folder of its own name where it runs, which would pass for one.
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _hushed() -> contextlib.redirect_stdout[io.StringIO]:
    return contextlib.redirect_stdout(io.StringIO())
