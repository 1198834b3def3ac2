"""The doctor reports what is installed, what is missing, and how to get it."""

from __future__ import annotations

import io
import sys
from importlib import metadata
from pathlib import Path

import pytest
from rich.console import Console

from step_hrl.cli import doctor
from step_hrl.cli.doctor import Finding, diagnose, examine, exit_code, table
from step_hrl.envs.alfworld_games import FOLDERS
from step_hrl.models import gguf, named


@pytest.fixture(autouse=True)
def quick_java(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Starting a Java runtime takes a while: only the tests about it do."""
    if "java" not in request.node.name:
        monkeypatch.setattr(doctor.scienceworld, "find_java", lambda: "java")
        monkeypatch.setattr(doctor.scienceworld, "java_version", lambda java: "openjdk")


def found(what: str) -> Finding:
    return next(finding for finding in diagnose() if finding.what == what)


def rendered(findings: list[Finding]) -> str:
    console = Console(width=160, file=io.StringIO(), record=True)
    console.print(table(findings))
    return console.export_text()


def test_the_machine_that_runs_the_tests_is_ready() -> None:
    findings = diagnose()
    assert exit_code(findings) == 0
    assert found("torch").found.startswith(metadata.version("torch"))
    assert found("transformers") == Finding("transformers", "ok", metadata.version("transformers"), needed=True)
    assert found("Python").found.startswith(".".join(map(str, sys.version_info[:3])))
    assert all(finding.remedy for finding in findings if finding.state != "ok")


@pytest.mark.parametrize(("needed", "code"), [(True, 1), (False, 0)])
def test_only_needed_findings_set_the_exit_code(needed: bool, code: int) -> None:
    findings = [Finding("a", "ok", "1"), Finding("b", "missing", "none", "get it", needed)]
    assert exit_code(findings) == code
    assert exit_code([Finding("c", "warning", "old", "renew it", needed)]) == 0


def test_the_table_shows_remedies_and_escapes_markup() -> None:
    text = rendered([Finding("trackio", "missing", "[red]", "pip install 'step-hrl[trackio]'")])
    assert "pip install 'step-hrl[trackio]'" in text
    assert "[red]" in text
    assert "not found" in text
    assert "Ready for the quickstart" in text
    assert "Not ready" in rendered([Finding("torch", "missing", "", "pip install torch", needed=True)])


def test_examining_prints_the_table_and_returns_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(width=160, file=io.StringIO(), record=True)
    monkeypatch.setattr(doctor, "diagnose", lambda: [Finding("disk", "missing", "0.1 GiB", "free some", needed=True)])
    assert examine(console) == 1
    assert "free some" in console.export_text()


def test_a_package_that_is_not_installed_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", none)
    findings = diagnose()
    assert exit_code(findings) == 1
    assert Finding("peft", "missing", "not installed", "pip install peft", needed=True) in findings


@pytest.mark.parametrize("failure", [ImportError("No module named 'torch'"), OSError("libcudart.so: not found\nmore")])
def test_a_torch_that_does_not_load_is_missing(monkeypatch: pytest.MonkeyPatch, failure: Exception) -> None:
    def fail(name: str) -> None:
        raise failure

    monkeypatch.setattr(doctor.importlib, "import_module", fail)
    torch = found("torch")
    assert (torch.state, torch.needed) == ("missing", True)
    assert str(failure).splitlines()[0] in torch.found
    assert "more" not in torch.found
    assert "pip install" in torch.remedy


def test_java_counts_only_when_it_starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho 'openjdk version \"17.0.9\"' >&2\n")
    java.chmod(0o755)
    monkeypatch.setattr(doctor.scienceworld, "find_java", lambda: str(java))
    assert found("Java") == Finding("Java", "ok", f'openjdk version "17.0.9" at {java}')
    java.write_text("#!/bin/sh\nexit 1\n")
    broken = found("Java")
    assert broken.state == "missing"
    assert "does not run" in broken.found
    assert "step-hrl[scienceworld]" in broken.remedy


def test_a_named_backbone_is_looked_for_in_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    missing = found("smollm2-135m")
    assert (missing.state, missing.needed) == ("missing", False)
    assert "93 MB" in missing.remedy
    folder = named.folder_of("smollm2-135m", gguf.default_cache())
    folder.mkdir(parents=True)
    assert found("smollm2-135m") == Finding("smollm2-135m", "ok", f"backbone in {folder}")


def test_games_are_counted_by_split(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ALFWORLD_DATA", str(tmp_path))
    assert found("ALFWorld games").state == "missing"
    assert "alfworld-download" in found("ALFWorld games").remedy
    for number, folder in enumerate(FOLDERS.values(), start=1):
        assert found("ALFWorld games").state in ("missing", "warning")
        for trial in range(number):
            game = tmp_path / "json_2.1.1" / folder / "task" / f"trial{trial}" / "game.tw-pddl"
            game.parent.mkdir(parents=True)
            game.touch()
    games = found("ALFWorld games")
    assert games.state == "ok"
    assert games.found.startswith("1 train, 2 dev, 3 seen, 4 unseen under ")


def test_an_alfworld_before_0_4_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: "0.3.5")
    assert found("alfworld").state == "warning"
    monkeypatch.setattr(metadata, "version", lambda name: "0.4.2")
    assert found("alfworld") == Finding("alfworld", "ok", "0.4.2")


def test_the_memory_limit_of_a_container_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(doctor, "_CGROUP_LIMIT", limit)
    limit.write_text("max\n")
    whole = found("memory")
    limit.write_text(f"{2**30}\n")
    assert whole.state == "ok"
    assert found("memory").state == "missing"
    assert found("memory").found == "1.0 GiB"


def test_a_full_disk_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 2**29}))
    disk = next(finding for finding in diagnose(tmp_path / "not" / "yet") if finding.what == "disk")
    assert (disk.state, disk.needed) == ("missing", True)
    assert disk.found == f"0.5 GiB free under {tmp_path}"


def test_an_old_python_is_not_enough() -> None:
    assert doctor._python((3, 9, 1)).state == "missing"
    assert doctor._python((3, 10, 0)).state == "ok"
