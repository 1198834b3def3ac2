"""Inject faults into small runs and check that they recover: ``python -m tests.faults --faults 100``."""

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

from tests.faults.fault_harness import NotRecoveredError, RunResult, check_recovery, reference_run
from tests.faults.scenarios import SCENARIOS


def plans(faults: int, per_run: int) -> Iterator[tuple[str, int, list[str]]]:
    """Scenarios, seeds, and the faults of each run; every fault of every scenario equally often."""
    pairs = [(name, fault) for name, scenario in SCENARIOS.items() for fault in scenario.faults]
    counts = Counter(islice(cycle(pairs), faults))
    for name in SCENARIOS:
        chosen = [fault for (scenario, fault), count in counts.items() if scenario == name for _ in range(count)]
        random.Random(0).shuffle(chosen)
        for seed, start in enumerate(range(0, len(chosen), per_run)):
            yield name, seed, chosen[start : start + per_run]


def main() -> int:
    """Inject as many faults as asked for, print a summary, and return 1 if a run did not recover."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=100, help="how many to inject")
    parser.add_argument("--per-run", type=int, default=5, help="faults injected into one run")
    parser.add_argument("--folder", type=Path, help="keep the runs here; by default they are deleted")
    options = parser.parse_args()
    console = Console()
    injected, recovered = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    lost = duplicated = orphans = 0
    problems: list[str] = []
    references: dict[str, tuple[RunResult, float]] = {}
    with nullcontext(options.folder) if options.folder else TemporaryDirectory(prefix="step-hrl-faults-") as scratch:
        for name, seed, faults in plans(options.faults, options.per_run):
            folder, scenario = Path(scratch) / f"{list(SCENARIOS).index(name)}", SCENARIOS[name]
            if name not in references:
                references[name] = reference_run(folder / "reference", scenario)
            keys = [(name, fault) for fault in faults]
            injected.update(keys)
            try:
                check_recovery(folder / str(seed), scenario, seed, faults, *references[name])
                recovered.update(keys)
            except NotRecoveredError as problem:
                problems.append(f"{name}, seed {seed}: {problem}")
                lost, duplicated = lost + problem.lost, duplicated + problem.duplicated
                orphans += problem.orphans
            console.print(f"{name}: {injected.total()} injected, {recovered.total()} recovered", highlight=False)
    table = Table("scenario", "fault", "injected", "recovered")
    for name, fault in ((name, fault) for name, scenario in SCENARIOS.items() for fault in scenario.faults):
        table.add_row(name, fault, str(injected[name, fault]), str(recovered[name, fault]))
    console.print(table)
    console.print(
        f"faults injected: {injected.total()}, recovered: {recovered.total()}, "
        f"episodes lost: {lost}, duplicated: {duplicated}, orphans: {orphans}",
        highlight=False,
    )
    for problem in problems:
        console.print(problem, markup=False, style="red")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
