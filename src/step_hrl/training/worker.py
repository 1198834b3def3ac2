"""One process of data-parallel training: ``python -m step_hrl.training.worker JOB RANK``. See ``parallel``."""

from __future__ import annotations

import os
import pickle
import sys
import threading
from pathlib import Path

from step_hrl.errors import StepHrlError
from step_hrl.runs import signals
from step_hrl.training.parallel import error_file, meet


def main(job: Path, rank: int) -> int:
    """Do the pickled call; leave an error that the parent can pass on where it finds it."""
    threading.Thread(target=_hear_parent, daemon=True).start()
    function, arguments = pickle.loads(job.read_bytes())
    meet(job, rank)
    try:
        function(*arguments)
    except (StepHrlError, signals.Stopped) as error:
        error_file(job, rank).write_bytes(pickle.dumps(error))
        return 2
    return 0


def _hear_parent() -> None:
    # The parent holds the other end of this pipe and writes only to ask for a stop: it ends when the parent does.
    # Read past Python's buffer, whose lock would be held when this process ends first.
    while os.read(0, 1):
        signals.request_stop()
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
