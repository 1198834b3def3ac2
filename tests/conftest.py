"""What all tests share: no clock in property tests, one thread for torch, shapes checked as they are annotated.

What they start has one thread too: test files run side by side, and threads that wait for a core cost more than they
do.

Metrics that trackio is given, where it is installed, go to a folder of no further use.
"""

from __future__ import annotations

import os
import tempfile

import torch
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

# Shared cores make single examples slow now and then, which says nothing about the code.
settings.register_profile("shared-cores", deadline=None, max_examples=60)
settings.register_profile("fuzz", deadline=None, max_examples=2000, suppress_health_check=list(HealthCheck))
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "shared-cores"))
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["TRACKIO_DIR"] = tempfile.mkdtemp(prefix="trackio-")
# A (B,) where a (B, 1) was meant broadcasts silently: under test, every call checks the shapes it is annotated with.
install_import_hook(["step_hrl.losses", "step_hrl.models"], "beartype.beartype")
