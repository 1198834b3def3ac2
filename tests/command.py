"""The `step-hrl` command in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

COMMAND = [sys.executable, "-c", "import sys; from step_hrl.cli.main import main; sys.argv[0] = 'step-hrl'; main()"]


def start(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    """Start the command in a folder with these arguments."""
    return subprocess.Popen([*COMMAND, *words], cwd=folder, stderr=subprocess.DEVNULL)


def finish(folder: Path, *words: str) -> None:
    """Run the command to its end, which must be success."""
    assert start(folder, *words).wait(120) == 0
