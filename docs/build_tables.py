"""Write the tables of docs/results.md and README.md from docs/results.json.

    python docs/build_tables.py            # writes the tables
    python docs/build_tables.py --check    # exits 1 and names each file whose tables differ

A table stands between the markers `<!-- table: NAME -->` and `<!-- end -->`; everything outside them stays as it is. A
file without markers is left alone.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

Record = dict[str, Any]

DOCS = Path(__file__).resolve().parent
PAGES = (DOCS / "results.md", DOCS.parent / "README.md")
MARKED = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)

ORACLE_COLUMNS = "expert answers for|episodes|score|success, %|invalid actions, %|actions"
README_COLUMNS = "recipe|what|split|episodes|score (95% interval)|tokens per action|minutes"
RUN_COLUMNS = (
    "recipe|split|stage|seeds|episodes|score|stage 2 - stage 1|success, %|invalid actions, %|tokens per action"
    "|longest prompt|minutes"
)
COMPARE_COLUMNS = (
    "training tokens|split|agent|episodes|score|difference to step_hrl|success, %|tokens per action|tokens per episode"
    "|longest prompt|10^9 multiply-adds per episode"
)


def number(value: float | str | None, sign: str = "") -> str:
    """A decimal figure with one digit, a whole number or text as it is, None as a dash."""
    if value is None:
        return "-"
    return f"{value:{sign}.1f}" if isinstance(value, float) else f"{value:{sign}}"


def with_interval(value: float | None, interval: Sequence[float] | None, sign: str = "") -> str:
    """A figure and its 95% interval: `24.0 (13.7 to 35.6)`."""
    if interval is None:
        return number(value, sign)
    return f"{number(value, sign)} ({number(interval[0], sign)} to {number(interval[1], sign)})"


def score(record: Record) -> str:
    """The score with its interval."""
    return with_interval(record["score"], record["interval"])


def difference(record: Record) -> str:
    """The difference to the record that `difference_to` names, with its interval."""
    return with_interval(record.get("difference"), record.get("difference_interval"), "+")


def score_or_gain(record: Record) -> str:
    """The score with its interval or, where only the gain over stage 1 has an interval, with the gain."""
    gain = f", gain over stage 1 {difference(record)}" if record["interval"] is None and "difference" in record else ""
    return score(record) + gain


def agent(record: Record) -> str:
    """The agent's name, and whether it played greedy where the others did not."""
    return record["agent"] + (", greedy" if "-greedy/" in record["id"] else "")


def minutes(record: Record) -> str:
    """Minutes of the whole command, or of each cell or seed."""
    each = record.get("minutes_each")
    return f"{each['low']} to {each['high']} a {each['of']}" if each else number(record["minutes"])


def field(key: str) -> Callable[[Record], str]:
    """A column that shows a field as it is."""
    return lambda record: number(record.get(key))


COLUMNS: dict[str, Callable[[Record], str]] = {
    "recipe": lambda record: f"`{record['recipe']}`",
    "what": lambda record: agent(record) if record["recipe"].endswith("-compare") else record["stage"],
    "agent": agent,
    "training tokens": lambda record: f"{record['training_tokens'] / 1e6:.1f}M",
    "expert answers for": lambda record: record.get("oracle", "no role"),
    "seeds": lambda record: str(len(record["seeds"])),
    "score": score,
    "score (95% interval)": score_or_gain,
    "stage 2 - stage 1": difference,
    "difference to step_hrl": difference,
    "success, %": lambda record: number(record["success"]) if record["world"] != "alfworld" else "-",
    "invalid actions, %": field("invalid_actions"),
    "10^9 multiply-adds per episode": field("giga_multiply_adds"),
    "minutes": minutes,
}
"""What stands in a column, by its header. Any other header names a field of the records."""


def grid(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, without the columns that have nothing in any row."""
    columns = [column for column in zip(header, *rows, strict=True) if set(column[1:]) != {"-"}]
    columns = [(head, "---", *cells) for head, *cells in columns]
    return "".join(f"| {' | '.join(line)} |\n" for line in zip(*columns, strict=True))


def table(name: str, records: Sequence[Record]) -> str:
    """The table of a marker.

    `WORLD` holds a world's recipes and `WORLD-compare` its comparison of agents. `README`, `WORLD-oracle` (an expert in
    some roles) and `WORLD-tasks` (scores by task) hold the records that name them in `tables`.
    """
    chosen = [record for record in records if name in record.get("tables", [])]
    if name.endswith("-tasks"):
        tasks = sorted(set().union(*(record["by_task"] for record in chosen)))
        rows = ([task, *(number(record["by_task"].get(task)) for record in chosen)] for task in tasks)
        return grid(["", *(record["id"] for record in chosen)], rows)
    columns = (ORACLE_COLUMNS if name.endswith("-oracle") else README_COLUMNS).split("|")
    if name != "README" and not name.endswith("-oracle"):
        world, compared = name.removesuffix("-compare"), name.endswith("-compare")
        columns = (COMPARE_COLUMNS if compared else RUN_COLUMNS).split("|")
        chosen = [r for r in records if r["world"] == world and r["recipe"].endswith("-compare") == compared]
        chosen = [r for r in chosen if "oracle" not in r]
    if not chosen:
        raise ValueError(f"docs/results.json has no record for the table {name}")
    cells = [COLUMNS.get(column) or field(column.replace(" ", "_")) for column in columns]
    return grid(columns, ([cell(record) for cell in cells] for record in chosen))


def with_tables(text: str, records: Sequence[Record]) -> str:
    """A page's text with its tables as the records have them."""
    return MARKED.sub(lambda found: found[1] + table(found[2], records) + found[3], text)


def main(words: Sequence[str]) -> int:
    """Write the tables, or with `--check` compare them; returns the exit status."""
    records = json.loads((DOCS / "results.json").read_text(encoding="utf-8"))
    differing = [page for page in PAGES if with_tables(page.read_text("utf-8"), records) != page.read_text("utf-8")]
    for page in differing:
        if "--check" in words:
            print(f"{page.relative_to(DOCS.parent)} differs from docs/results.json: run python docs/build_tables.py")
        else:
            page.write_text(with_tables(page.read_text("utf-8"), records), encoding="utf-8")
    return int("--check" in words and bool(differing))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
