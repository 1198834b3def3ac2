"""Settings for all tests.

Property tests have no deadline. Torch and the processes that tests start use one thread, as test files run in parallel.
Array shapes are checked against their annotations. trackio, if installed, writes to a temporary folder. Files with slow
tests run first.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter

import pytest
import torch
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

# On shared cores a single example may be slow for reasons outside the code.
settings.register_profile("shared-cores", deadline=None, max_examples=60)
settings.register_profile("fuzz", deadline=None, max_examples=2000, suppress_health_check=list(HealthCheck))
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "shared-cores"))
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["TRACKIO_DIR"] = tempfile.mkdtemp(prefix="trackio-")
# A (B,) in place of a (B, 1) broadcasts silently, so every call under test checks its annotated shapes.
install_import_hook(["step_hrl.losses", "step_hrl.models"], "beartype.beartype")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files with slow tests first, those with the most first, so that none is left to run alone at the end.

    xdist distributes files in this order with ``--dist loadfile --no-loadscope-reorder``.
    """
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])
