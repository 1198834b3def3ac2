"""What textworld does again and again for ALFWorld although it comes out the same: done once, remembered within bounds.

As the packages come, a step parses the same grammar symbols and queries anew and copies descriptions of things that
nobody changes, and a game is translated to a planning task four times before its first step. None of what is done here
changes a word of a game (tests/envs/test_alfworld.py plays games both ways).
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
"""Most parsed texts of a grammar that are remembered: a game uses some two hundred, most of them in all games."""
QUERIES = 4096
"""Most parsed conditions that are remembered."""
PROBLEMS = 4
"""Most translated problems that are remembered, of a few MB each: loading and resetting a game asks four times."""


INSTANCES = 50_000
"""Most facts that textworld keeps, some 800 bytes each. A game has a thousand of its own."""


def forget_old_facts() -> None:
    """Empty textworld's store of facts once it is large: it would keep those of every game that was ever played.

    Facts are compared by what they say: games under way go on with theirs.
    """
    kept: dict[Any, Any] = import_module("mementos.core")._memento_cache
    if len(kept) > INSTANCES:
        kept.clear()


def speed_up() -> None:
    """Change the loaded packages in this process, for good. Doing it again changes nothing."""
    textgen: Any = import_module("textworld.envs.pddl.textgen")
    planner: Any = import_module("fast_downward")
    if textgen.copy_context is _copy_context:
        return
    textgen.copy_context = _copy_context
    textgen._parse_and_convert = _symbols(textgen._parse_and_convert)
    textgen.Rule = _Queries(textgen.Rule.parse_conjunctive_query)
    planner.pddl2sas = _problems(planner.pddl2sas)


def _copy_context(context: Mapping[str, Any]) -> dict[str, Any]:
    """What a symbol reads while a text is derived. Things are added to a copy, never changed in it."""
    return {**context, "variables": dict(context["variables"]), "mapping": dict(context["mapping"])}


def _symbols(parse: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    """Symbols are written to while a text is derived from them, so each caller gets its own."""

    @lru_cache(SYMBOLS)
    def parsed(start: str, rule_name: str) -> list[Any]:
        return parse(start, rule_name=rule_name)

    def parse_and_convert(start: str, rule_name: str = "symbols", trace: bool = False) -> list[Any]:
        return deepcopy(parsed(start, rule_name))

    return parse_and_convert


class _Queries:
    """Stands for ``textworld.logic.Rule``, of which the grammar uses one function."""

    def __init__(self, parse: Callable[[str], Any]) -> None:
        self.parse_conjunctive_query = lru_cache(QUERIES)(parse)


def _problems(translate: Callable[..., Any]) -> Callable[..., Any]:
    """One translation for both askers: the second, made for speed, serves only hints, which nobody asks for here."""

    @lru_cache(PROBLEMS)
    def translated(domain: str, problem: str) -> Any:
        arguments, collecting = sys.argv, gc.isenabled()
        gc.disable()  # a third of the time goes into looking through millions of objects that are all in use
        try:
            return translate(domain, problem)  # writes a command line of its own to sys.argv
        finally:
            sys.argv = arguments
            if collecting:
                gc.enable()

    def pddl2sas(domain: str, problem: str, verbose: bool = False, optimize: bool = False) -> Any:
        return translated(domain, problem)

    return pddl2sas
