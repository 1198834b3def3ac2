"""What all tests share: no clock in property tests, one thread for torch."""

from __future__ import annotations

import torch
from hypothesis import settings

# Shared cores make single examples slow now and then, which says nothing about the code.
settings.register_profile("shared-cores", deadline=None, max_examples=60)
settings.load_profile("shared-cores")
torch.set_num_threads(1)
