from __future__ import annotations

import pytest
import torch

from step_hrl.models import threads
from step_hrl.models.threads import leaving_cores


@pytest.mark.parametrize(("cores", "busy", "before", "used"), [(8, 2, 8, 6), (2, 2, 2, 1), (16, 2, 4, 4), (1, 5, 1, 1)])
def test_cores_are_left_to_others(
    cores: int, busy: int, before: int, used: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "_cores", lambda: cores)
    as_found = torch.get_num_threads()
    torch.set_num_threads(before)
    try:
        with leaving_cores(busy):
            assert torch.get_num_threads() == used
        assert torch.get_num_threads() == before
    finally:
        torch.set_num_threads(as_found)
