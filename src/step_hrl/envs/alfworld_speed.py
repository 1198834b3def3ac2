"""Speed up textworld for ALFWorld with bounded caches of results that it recomputes.

Unpatched, every step parses the same grammar symbols and queries again and copies descriptions that are never modified,
and a game is translated to a planning task four times before its first step. The caches do not change any text of a
game (tests/envs/test_alfworld.py compares games with and without them).
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import lru_cache
from importlib import import_module
from typing import Any

SYMBOLS = 4096
"""Cache size for parsed grammar symbols: a game uses about two hundred, most of them shared by all games."""
QUERIES = 4096
"""Cache size for parsed conditions."""
PROBLEMS = 4
"""Cache size for translated problems, of a few MB each: loading and resetting a game needs one four times."""
INSTANCES = 50_000
"""Maximum number of facts in textworld's store, of about 800 bytes each. A game adds about a thousand."""


def forget_old_facts() -> None:
    """Clear textworld's store of facts once it is large; otherwise it grows with every game.

    Facts are compared by value, so this does not affect games in progress.
    """
    store: dict[Any, Any] = import_module("mementos.core")._memento_cache
    if len(store) > INSTANCES:
        store.clear()


def speed_up() -> None:
    """Patch the loaded packages in this process, permanently. Idempotent."""
    textgen: Any = import_module("textworld.envs.pddl.textgen")
    planner: Any = import_module("fast_downward")
    if textgen.copy_context is _copy_context:
        return
    textgen.copy_context = _copy_context
    textgen._parse_and_convert = _cached_symbols(textgen._parse_and_convert)
    textgen.Rule = _CachedQueries(textgen.Rule.parse_conjunctive_query)
    planner.pddl2sas = _cached_problems(planner.pddl2sas)


def _copy_context(context: Mapping[str, Any]) -> dict[str, Any]:
    """Copy the two dictionaries that a derivation adds to; their values are never modified."""
    return {**context, "variables": dict(context["variables"]), "mapping": dict(context["mapping"])}


def _cached_symbols(parse: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    """Cache parsed symbols. Derivations modify them, so each caller gets a copy."""

    @lru_cache(SYMBOLS)
    def parsed(start: str, rule_name: str) -> list[Any]:
        return parse(start, rule_name=rule_name)

    def parse_and_convert(start: str, rule_name: str = "symbols", trace: bool = False) -> list[Any]:
        return deepcopy(parsed(start, rule_name))

    return parse_and_convert


class _CachedQueries:
    """Replaces ``textworld.logic.Rule``, of which the grammar uses one function."""

    def __init__(self, parse: Callable[[str], Any]) -> None:
        self.parse_conjunctive_query = lru_cache(QUERIES)(parse)


def _cached_problems(translate: Callable[..., Any]) -> Callable[..., Any]:
    """Cache translated problems, the same with and without ``optimize``, which matters only for (unused) hints."""

    @lru_cache(PROBLEMS)
    def translated(domain: str, problem: str) -> Any:
        arguments, gc_enabled = sys.argv, gc.isenabled()
        gc.disable()  # scanning millions of live objects takes a third of the time
        try:
            return translate(domain, problem)  # overwrites sys.argv
        finally:
            sys.argv = arguments
            if gc_enabled:
                gc.enable()

    def pddl2sas(domain: str, problem: str, verbose: bool = False, optimize: bool = False) -> Any:
        return translated(domain, problem)

    return pddl2sas
