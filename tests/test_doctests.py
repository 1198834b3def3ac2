"""The examples in docstrings hold."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import step_hrl

MODULES = ["step_hrl", *(found.name for found in pkgutil.walk_packages(step_hrl.__path__, "step_hrl."))]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
