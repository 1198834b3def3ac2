"""``python -m tests.faults --faults 100`` hurts runs so often and prints what became of them, by course and kind."""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from tests.faults.fault_harness import FellShortError, Survey, endure, left_alone
from tests.faults.scenarios import COURSES


def plans(faults: int, each: int) -> Iterator[tuple[str, int, list[str]]]:
    """Courses, seeds, and what is to befall each run; all kinds of all courses equally often."""
    pairs = [(name, kind) for name, course in COURSES.items() for kind in course.faults]
    chosen = Counter(islice(cycle(pairs), faults))
    for name in COURSES:
        kinds = [kind for (course, kind), count in chosen.items() if course == name for _ in range(count)]
        random.Random(0).shuffle(kinds)
        for seed, start in enumerate(range(0, len(kinds), each)):
            yield name, seed, kinds[start : start + each]


def main() -> int:
    """Let runs endure as many faults as the command line says, and print what became of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=100)
    parser.add_argument("--each", type=int, default=5, help="faults a run")
    parser.add_argument("--folder", type=Path, help="where runs are kept to be looked at; else they are deleted")
    options = parser.parse_args()
    console = Console()
    met, survived = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    problems: list[str] = []
    alone: dict[str, tuple[Survey, float]] = {}
    with nullcontext(options.folder) if options.folder else TemporaryDirectory(prefix="step-hrl-faults-") as scratch:
        for name, seed, kinds in plans(options.faults, options.each):
            folder, course = Path(scratch) / f"{list(COURSES).index(name)}", COURSES[name]
            if name not in alone:
                alone[name] = left_alone(folder / "alone", course)
            befell = [(name, kind) for kind in kinds]
            met.update(befell)
            try:
                endure(folder / str(seed), course, seed, kinds, *alone[name])
                survived.update(befell)
            except FellShortError as problem:
                problems.append(f"{name}, seed {seed}: {problem}")
            console.print(f"{name}: {met.total()} faults, {survived.total()} survived", highlight=False)
    table = Table("run", "fault", "met", "survived")
    for name, kind in ((name, kind) for name, course in COURSES.items() for kind in course.faults):
        table.add_row(name, kind, str(met[name, kind]), str(survived[name, kind]))
    table.add_row("all", "", str(met.total()), str(survived.total()))
    console.print(table)
    for problem in problems:
        console.print(problem, markup=False, style="red")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
