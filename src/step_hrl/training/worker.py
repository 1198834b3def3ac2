"""One process of data-parallel training: ``python -m step_hrl.training.worker JOB RANK``; see ``parallel``."""

from __future__ import annotations

import os
import pickle
import sys
import threading
import time
from pathlib import Path

from step_hrl.errors import StepHrlError
from step_hrl.runs import signals
from step_hrl.training.parallel import error_file, join_group

SECONDS_BEFORE_TRACEBACK = 3.0


def main(job: Path, rank: int) -> int:
    """Run the pickled call and return an exit status; an error that the parent raises again is pickled to a file."""
    threading.Thread(target=_watch_parent, daemon=True).start()
    function, arguments = pickle.loads(job.read_bytes())
    join_group(job, rank)
    try:
        function(*arguments)
    except (StepHrlError, signals.Stopped) as error:
        error_file(job, rank).write_bytes(pickle.dumps(error))
        return 2
    except Exception:
        # Where another process died, every exchange with it fails here too. The parent, which polls faster than this,
        # then ends this process: only the first failure is reported.
        time.sleep(SECONDS_BEFORE_TRACEBACK)
        raise
    return 0


def _watch_parent() -> None:
    # The parent holds the other end of stdin's pipe: a byte is a request to stop, end of file means the parent is gone.
    # os.read bypasses Python's buffer, whose lock would otherwise be held when this process exits.
    while os.read(0, 1):
        signals.request_stop()
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
