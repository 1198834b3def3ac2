"""The figures in docs/results.json, the tables made from them, and the length of the pages that hold the tables."""

from __future__ import annotations

import json
import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def ident(record: dict[str, Any]) -> str:
    return record.get("id", "no id")


RECORDS: list[dict[str, Any]] = json.loads((DOCS / "results.json").read_text("utf-8"))
BY_ID = {ident(record): record for record in RECORDS}
COMPARED = [record for record in RECORDS if "source" in record]
MOST_LINES = {"docs/results.md": 249, "README.md": 129}
KEYS = {
    "id",
    "recipe",
    "world",
    "split",
    "agent",
    "stage",
    "seeds",
    "episodes",
    "score",
    "interval",
    "success",
    "tokens_per_action",
    "longest_prompt",
    "minutes",
    "machine",
    "versions",
    "commit",
    "date",
    "command",
    "note",
}

spec = spec_from_file_location("build_tables", DOCS / "build_tables.py")
assert spec is not None
assert spec.loader is not None
build_tables = module_from_spec(spec)
spec.loader.exec_module(build_tables)


@pytest.mark.parametrize("record", RECORDS, ids=ident)
def test_a_record_has_every_key(record: dict[str, Any]) -> None:
    assert record.keys() >= KEYS, f"{ident(record)} lacks {sorted(KEYS - record.keys())}; null stands for unknown"


def test_ids_are_unique() -> None:
    assert len(BY_ID) == len(RECORDS)


@pytest.mark.parametrize("record", RECORDS, ids=ident)
def test_a_figure_lies_in_its_interval_and_in_its_range(record: dict[str, Any]) -> None:
    assert record["score"] is None or 0 <= record["score"] <= 100
    assert record["success"] is None or 0 <= record["success"] <= 100
    for value, interval in (("score", "interval"), ("difference", "difference_interval")):
        if record.get(interval) is not None:
            low, high = record[interval]
            assert low <= record[value] <= high


@pytest.mark.parametrize("record", [record for record in RECORDS if "difference" in record], ids=ident)
def test_a_difference_is_to_a_record_of_the_same_split(record: dict[str, Any]) -> None:
    other = BY_ID[record["difference_to"]]
    assert other["split"] == record["split"]
    # Each score is rounded, and the difference too.
    assert record["score"] - other["score"] == pytest.approx(record["difference"], abs=0.16)


@pytest.mark.parametrize("record", RECORDS, ids=ident)
def test_a_record_names_a_recipe_and_a_day_of_the_log(record: dict[str, Any]) -> None:
    assert (ROOT / "recipes" / f"{record['recipe']}.yaml").is_file()
    assert (DOCS / "log" / f"{record['date']}.md").is_file()


@pytest.mark.parametrize("record", COMPARED, ids=ident)
def test_a_comparison_is_copied_from_its_file(record: dict[str, Any]) -> None:
    source = json.loads((ROOT / record["source"]).read_text("utf-8"))["splits"][record["split"]][record["agent"]]

    def percent(interval: dict[str, float]) -> list[float]:
        return [round(100 * interval["low"], 1), round(100 * interval["high"], 1)]

    assert record["score"] == round(100 * source["score"], 1)
    assert record["interval"] == percent(source["score_interval"])
    assert record["success"] == round(100 * source["success_rate"], 1)
    assert record["episodes"] == source["episodes"]
    assert record["tokens_per_action"] == round(source["tokens_per_action"])
    assert record["tokens_per_episode"] == round(source["tokens_per_episode"])
    assert record["longest_prompt"] == source["longest_prompt_tokens"]
    if "difference" in record:
        assert record["difference"] == round(100 * source["difference"], 1)
        assert record["difference_interval"] == percent(source["difference_interval"])


@pytest.mark.parametrize("page", build_tables.PAGES, ids=lambda page: page.name)
def test_tables_are_those_of_the_records(page: Path) -> None:
    text = page.read_text("utf-8")
    assert text == build_tables.with_tables(text, RECORDS), "run python docs/build_tables.py"


def test_every_world_has_its_tables() -> None:
    names = re.findall(r"<!-- table: (\S+) -->", (DOCS / "results.md").read_text("utf-8"))
    assert {record["world"] for record in RECORDS} <= set(names)
    assert {f"{record['world']}-compare" for record in COMPARED} <= set(names)
    assert {name for record in RECORDS for name in record.get("tables", [])} <= {*names, "README"}


def test_check_names_the_page_that_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page, plain = tmp_path / "page.md", tmp_path / "plain.md"
    page.write_text("before\n<!-- table: pantry -->\nold\n<!-- end -->\nafter\n")
    plain.write_text("no marker\n")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "results.json").write_text(json.dumps(RECORDS))
    monkeypatch.setattr(build_tables, "DOCS", tmp_path / "docs")
    monkeypatch.setattr(build_tables, "PAGES", (page, plain))
    assert build_tables.main(["--check"]) == 1
    assert "page.md" in (said := capsys.readouterr().out)
    assert "plain.md" not in said
    assert build_tables.main([]) == 0
    assert build_tables.main(["--check"]) == 0
    assert page.read_text("utf-8").startswith("before\n<!-- table: pantry -->\n| recipe |")
    assert page.read_text("utf-8").endswith("|\n<!-- end -->\nafter\n")
    assert plain.read_text("utf-8") == "no marker\n"


def test_a_table_without_records_is_an_error() -> None:
    with pytest.raises(ValueError, match="no record for the table atlantis"):
        build_tables.table("atlantis", RECORDS)


@pytest.mark.parametrize(("name", "most"), MOST_LINES.items())
def test_a_page_stays_short(name: str, most: int) -> None:
    lines = len((ROOT / name).read_text("utf-8").splitlines())
    assert lines <= most, f"{name} has {lines} lines; history belongs in docs/log"


@pytest.mark.parametrize(
    "page",
    [DOCS / "results.md", DOCS / "performance.md", *sorted((DOCS / "log").glob("*.md"))],
    ids=lambda page: page.name,
)
def test_links_lead_to_files(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#:]+)(?:#[\w-]*)?\)", page.read_text("utf-8")):
        assert (page.parent / link).exists(), f"{page.name} links to {link}"
