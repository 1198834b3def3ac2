"""ALFWorld's games on disk, by split and task type, with a check that they are intact."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from step_hrl.errors import WorldError, did_you_mean

NAME = "alfworld"
TASK_TYPES = (
    "pick_and_place_simple",
    "look_at_obj_in_light",
    "pick_clean_then_place_in_recep",
    "pick_heat_then_place_in_recep",
    "pick_cool_then_place_in_recep",
    "pick_two_obj_and_place",
)
FOLDERS = {"train": "train", "dev": "valid_train", "seen": "valid_seen", "unseen": "valid_unseen"}
"""Folder of each split. ``valid_train`` holds new games in the rooms of training, for model selection."""
DIALECT = "move {o} to {r}"
"""The command that places an object in alfworld 0.4; earlier versions use ``put {o} in/on {r}``."""
DOWNLOAD = (
    "run `alfworld-download` (of the package alfworld), or point ALFWORLD_DATA to the folder that holds json_2.1.1"
)

_EXCLUDED = ("movable", "Sliced")  # not in the benchmark (alfworld, AlfredTWEnv.collect_game_files)
_SOLVABLE = re.compile(rb'"solvable": *(true|false)')
_PUT = re.compile(rb"action PutObject \{\\n *template :: \\\"(.*?)\\\"")


@dataclass(frozen=True)
class Games:
    """A split's games: files by task type, sorted by path, a hash over all, and the number of unsolvable ones."""

    files: Mapping[str, tuple[Path, ...]]
    digest: str
    unsolvable: int

    @property
    def count(self) -> int:
        """Number of solvable games."""
        return sum(map(len, self.files.values()))


def data_folder() -> Path:
    """Folder of alfworld's games: ``$ALFWORLD_DATA``, by default ``~/.cache/alfworld``."""
    return Path(os.environ.get("ALFWORLD_DATA") or "~/.cache/alfworld").expanduser()


@lru_cache(maxsize=8)
def find_games(data: Path, split: str) -> Games:
    """Find a split's games (cached); unsolvable ones are excluded, as in alfworld.

    Raises :class:`~step_hrl.errors.WorldError` for an unknown split, for a split without games, and for a game that is
    damaged or in another dialect.
    """
    if split not in FOLDERS:
        raise WorldError(f"{NAME} split {split!r}", "unknown", did_you_mean(split, FOLDERS))
    root = data / "json_2.1.1" / FOLDERS[split]
    digest = hashlib.sha256()
    files: dict[str, list[Path]] = {name: [] for name in TASK_TYPES}
    unsolvable = 0
    for file in sorted(root.glob("*/*/game.tw-pddl")):
        name = file.parent.parent.name.split("-", 1)[0]
        if name not in files or any(word in file.parent.parent.name for word in _EXCLUDED):
            continue
        content = file.read_bytes()
        if _is_solvable(file, content):
            files[name].append(file)
            digest.update(str(file.relative_to(root)).encode() + hashlib.sha256(content).digest())
        else:
            unsolvable += 1
    if not any(files.values()):
        raise WorldError(f"{NAME} split {split!r}", f"no games that can be solved under {root}", DOWNLOAD)
    return Games({name: tuple(paths) for name, paths in files.items()}, digest.hexdigest(), unsolvable)


def damaged(file: Path, reason: object) -> WorldError:
    """The error for a file that cannot be played."""
    message = " ".join(str(reason).split())
    return WorldError(str(file), f"damaged ({message})", "download it again with `alfworld-download -f`")


def _is_solvable(file: Path, content: bytes) -> bool:
    solvable, put = _SOLVABLE.search(content), _PUT.search(content)
    if solvable is None or put is None or not content.rstrip().endswith(b"}"):
        raise damaged(file, "not a complete ALFWorld game")
    if put[1].decode() != DIALECT:
        got = f"a game of another version, which says {put[1].decode()!r} for {DIALECT!r}"
        raise WorldError(str(file), got, "download the games of alfworld 0.4: scores of both do not compare")
    return solvable[1] == b"true"
