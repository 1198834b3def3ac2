from __future__ import annotations

import time
from pathlib import Path

import pytest

from step_hrl.runs.timing import seconds, timed


def test_times_add_up_including_interrupted_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert seconds(tmp_path) == 0.0
    monkeypatch.setattr(time, "monotonic", iter([10.0, 12.5, 100.0, 101.0]).__next__)
    with timed(tmp_path):
        pass
    with pytest.raises(KeyboardInterrupt), timed(tmp_path):
        raise KeyboardInterrupt
    assert seconds(tmp_path) == 3.5
