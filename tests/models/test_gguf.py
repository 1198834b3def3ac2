from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from step_hrl.config import BackboneConfig
from step_hrl.errors import ModelError
from step_hrl.models import backbone as backbones
from step_hrl.models import gguf
from step_hrl.models.collate import collate, tokenize
from step_hrl.types import Role, Transition

GGUF = os.environ.get("STEP_HRL_TEST_GGUF", "")
"""A small GGUF file, such as SmolLM2-135M-Instruct.Q4_1.gguf; tests that read one are skipped without it."""


def test_a_file_that_is_not_gguf_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.gguf"
    wrong.write_bytes(b"not a model")
    with pytest.raises(ModelError, match=r"wrong\.gguf: cannot be read"):
        gguf.convert(wrong, tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_a_converted_file_is_found_again_by_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []

    def write(source: Path, folder: Path) -> None:
        written.append(folder)
        (folder / "config.json").write_text("{}")

    monkeypatch.setattr(gguf, "_write", write)
    source = tmp_path / "model.gguf"
    source.write_bytes(b"one")
    first = gguf.convert(source, tmp_path / "cache")
    assert gguf.convert(source, tmp_path / "cache") == first
    source.write_bytes(b"two")
    second = gguf.convert(source, tmp_path / "cache")
    assert second != first
    assert len(written) == 2
    assert sorted((tmp_path / "cache").iterdir()) == sorted([first, second])


def test_the_cache_is_where_the_system_keeps_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert gguf.default_cache() == Path("/somewhere/step-hrl/gguf")


@pytest.mark.skipif(not Path(GGUF).is_file(), reason="set STEP_HRL_TEST_GGUF to a small GGUF file")
def test_a_gguf_model_can_be_trained_and_saved(tmp_path: Path) -> None:
    config = BackboneConfig(source=GGUF, prompt_format="chat")
    backbone = backbones.load(config, device="cpu", cache=tmp_path / "cache")
    transition = Transition(Role.LOW, "You see a door. Action:", "open door; True", 0.0, None, True, 1, "e", "t")
    batch = collate([tuple(tokenize([transition], backbone.tokenizer, 512))], backbone.tokenizer.pad)
    # Its padding token also ends texts: masks made from ids would lose or gain tokens.
    assert backbone.tokenizer.hf.decode(batch.input_ids.flatten()[batch.utterance_path[0, 1:]]) == " open door; True\n"
    scores = backbone.score(batch)
    scores.log_probs.sum().backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())
    backbone.save(tmp_path / "saved")
    again = backbones.load(BackboneConfig(source=str(tmp_path / "saved"), prompt_format="chat"), device="cpu")
    assert torch.equal(again.score(batch).log_probs, scores.log_probs)
