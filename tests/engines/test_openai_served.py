"""The HTTP engine against `transformers serve`: a served model replies as in this process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.asks import ask
from tests.tiny_model import chat_model

from step_hrl.config import ApiConfig, BackboneConfig, GenerationConfig, MaxNewTokens
from step_hrl.engines.openai import OpenAIEngine
from step_hrl.engines.transformers import TransformersEngine
from step_hrl.models import backbone as backbones
from step_hrl.models import gguf
from step_hrl.types import Ask, Role, Utterance

for needed in ("openai", "fastapi", "uvicorn"):
    pytest.importorskip(needed, reason="needs the dev extra")

GGUF = os.environ.get("STEP_HRL_TEST_GGUF", "")
"""The GGUF file of a model to serve; if unset, a tiny model with random weights is served."""
PATIENCE_SECONDS = 120.0
ASKS = [
    ask(Role.LOW, "Answer with one word: what is the capital of France?"),
    ask(Role.HIGH, "Name one thing that is found in a kitchen."),
    ask(Role.PROGRESS, "Say hello."),
]
GREEDY = GenerationConfig(max_new_tokens=MaxNewTokens(high=9, low=7, progress=5), mixed_precision="no")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    return gguf.convert(Path(GGUF), folder) if GGUF else chat_model(folder / "model")


@pytest.fixture(scope="module")
def base_url(model: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["serve", str(model), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--dtype", "float32"]
    offline = {**os.environ, "HF_HUB_OFFLINE": "1"}
    program = Path(sys.executable).with_name("transformers")
    with subprocess.Popen([program, *command], env=offline, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as server:
        try:
            _wait_for(f"http://127.0.0.1:{port}/health", server)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()
            server.communicate(timeout=30)


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    give_up = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < give_up:
        if server.poll() is not None:
            raise RuntimeError(f"the server ended: {server.stdout.read().decode() if server.stdout else ''}")
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(url)


def test_a_served_model_replies_as_in_this_process(model: Path, base_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", "any")
    api = ApiConfig(base_url=base_url, model=str(model), key_variable="TEST_KEY", retries=0)
    left, served = list(enumerate(ASKS)), dict[int, Utterance]()

    def exchange(finished: list[tuple[int, Utterance]]) -> list[Ask]:
        served.update(finished)
        sent = [ask for _, ask in left]
        left.clear()
        return sent

    OpenAIEngine(api, GREEDY).serve(exchange)
    backbone = backbones.load(BackboneConfig(source=str(model), prompt_format="chat"))
    local = TransformersEngine(backbone, GREEDY).generate(ASKS)
    for number in range(len(ASKS)):
        assert served[number].text.strip().split("\n")[0] == local[number].text.strip()
        assert served[number].usage.prompt_tokens == local[number].usage.prompt_tokens
        assert 0 < served[number].usage.completion_tokens <= getattr(GREEDY.max_new_tokens, ASKS[number].role.value)
