"""The HTTP engine against a real server over a real socket."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.asks import ask

from step_hrl.config import ApiConfig, GenerationConfig, MaxNewTokens
from step_hrl.data.episode_files import read_episodes
from step_hrl.engines.openai import OpenAIEngine
from step_hrl.errors import ModelError
from step_hrl.pipeline import Pipeline
from step_hrl.recipes import load_recipe
from step_hrl.types import Ask, Role, Usage, Utterance

pytest.importorskip("openai", reason="needs the api extra")


class Server(ThreadingHTTPServer):
    """Replies with the last line of the prompt, after failing with each status in ``fails``."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.fails: list[int] = []
        self.error_message = "not now"
        self.raw_body = ""
        self.delay = 0.0
        self.usage: dict[str, Any] | None = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}
        self.requests: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.active = self.most_active = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.requests.append(request)
            self.server.keys.add(self.headers["Authorization"])
            self.server.active += 1
            self.server.most_active = max(self.server.most_active, self.server.active)
            status = self.server.fails.pop(0) if self.server.fails else 200
        time.sleep(self.server.delay)
        with self.server.lock:
            self.server.active -= 1
        if self.server.raw_body:
            self._answer(status, self.server.raw_body)
            return
        reply = request["messages"][0]["content"].splitlines()[-1]
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": reply}}
        answer = {"id": "1", "object": "chat.completion", "created": 0, "model": "echo", "choices": [choice]}
        answer |= {"usage": self.server.usage} if self.server.usage else {}
        self._answer(status, json.dumps(answer if status == 200 else {"error": {"message": self.server.error_message}}))

    def _answer(self, status: int, content: str) -> None:
        body = content.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Retry-After", "0")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KEY", "s3cret")


def engine(server: Server, **changes: Any) -> OpenAIEngine:
    api = ApiConfig(base_url=server.url, model="echo", key_variable="TEST_KEY", **changes)
    limits = MaxNewTokens(high=11, low=12, progress=13)
    return OpenAIEngine(api, GenerationConfig(temperature=0.5, max_new_tokens=limits))


def answers(engine: OpenAIEngine, asks: Sequence[Ask]) -> dict[int, Utterance]:
    """The answers to all asks, which are sent two at a time."""
    left, found = list(asks), dict[int, Utterance]()

    def exchange(finished: Sequence[tuple[int, Utterance]]) -> Sequence[Ask]:
        found.update(finished)
        sent, left[:] = left[:2], left[2:]
        return sent

    engine.serve(exchange)
    return found


def test_every_ask_is_answered_with_the_tokens_the_server_counted(server: Server) -> None:
    found = answers(engine(server), [ask(Role.LOW, f"a\nword {number}") for number in range(7)])
    assert found == {number: Utterance(f"word {number}", Usage(12, 0, 3)) for number in range(7)}
    assert server.keys == {"Bearer s3cret"}
    assert {request["max_tokens"] for request in server.requests} == {12}
    assert {request["temperature"] for request in server.requests} == {0.5}


def test_cached_tokens_are_counted_if_the_server_reports_them(server: Server) -> None:
    server.usage = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}
    server.usage |= {"prompt_tokens_details": {"cached_tokens": 8}}
    assert answers(engine(server), [ask(Role.HIGH, "a")])[0].usage == Usage(9, 8, 1)
    server.usage = None
    assert answers(engine(server), [ask(Role.HIGH, "a")])[0].usage == Usage()


@pytest.mark.parametrize("status", [429, 500, 503])
def test_transient_errors_are_retried(server: Server, status: int) -> None:
    server.fails = [status, status]
    assert answers(engine(server, retries=2), [ask(Role.LOW, "a")])[0].text == "a"
    assert len(server.requests) == 3


def test_lasting_errors_name_the_server_and_not_the_key(server: Server) -> None:
    server.fails = [429] * 3
    with pytest.raises(ModelError, match=r"http://127.*: did not answer \(.*not now.*\); check base_url") as error:
        answers(engine(server, retries=1), [ask(Role.LOW, "a")])
    assert "s3cret" not in str(error.value)
    assert len(server.requests) == 2
    server.fails = [401]
    with pytest.raises(ModelError, match="did not answer"):
        answers(engine(server), [ask(Role.LOW, "a")])


def test_a_silent_server_times_out(server: Server) -> None:
    server.delay = 2.0
    with pytest.raises(ModelError, match="timed out"):
        answers(engine(server, retries=0, timeout_seconds=0.2), [ask(Role.LOW, "a")])


def replied(message: Any, **others: Any) -> str:
    return json.dumps({"id": "1", "object": "chat.completion", "choices": [{"index": 0, "message": message}], **others})


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("{", "response is not JSON"),
        ("null", "response without a reply"),
        ("[]", "response without a reply"),
        ('"text"', "response without a reply"),
        ("{}", "response without a reply"),
        ('{"choices": []}', "response without a reply"),
        ('{"choices": 5}', "response without a reply"),
        ('{"choices": [{"index": 0}]}', "response without a reply"),
        (replied({"role": "assistant", "content": ["a", 5]}), "reply is not text"),
        (replied({"role": "assistant", "content": 5}), "reply is not text"),
    ],
)
def test_a_malformed_response_names_the_server(server: Server, body: str, problem: str) -> None:
    server.raw_body = body
    with pytest.raises(ModelError, match=rf"http://127.*: {problem} \(.*\); check base_url"):
        answers(engine(server, retries=0), [ask(Role.LOW, "a")])


@pytest.mark.parametrize(
    "usage",
    [5, [], {}, {"prompt_tokens": "many"}, {"prompt_tokens": -3, "completion_tokens": None}, {"prompt_tokens": True}],
)
def test_invalid_token_counts_are_ignored(server: Server, usage: Any) -> None:
    server.raw_body = replied({"role": "assistant", "content": "look"}, usage=usage)
    assert answers(engine(server), [ask(Role.LOW, "a")])[0] == Utterance("look", Usage())


def test_a_reply_without_content_is_empty(server: Server) -> None:
    server.raw_body = replied({"role": "assistant", "content": None})
    assert answers(engine(server), [ask(Role.LOW, "a")])[0].text == ""


def test_a_key_in_a_response_is_masked(server: Server) -> None:
    server.fails, server.error_message = [401], "no such key: s3cret"
    with pytest.raises(ModelError, match=r"no such key: \*\*\*"):
        answers(engine(server), [ask(Role.LOW, "a")])
    server.raw_body = '{"key": "s3cret"}'
    with pytest.raises(ModelError) as error:
        answers(engine(server), [ask(Role.LOW, "a")])
    assert "s3cret" not in str(error.value)


def test_concurrent_requests_are_limited(server: Server) -> None:
    server.delay = 0.05
    answers(engine(server, concurrent=3), [ask(Role.LOW, "a")] * 12)
    assert server.most_active == 3


def test_an_unset_key_variable_is_named(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_KEY")
    with pytest.raises(ModelError, match=r"\$TEST_KEY: not set"):
        engine(server)


def test_provenance_does_not_contain_the_key(server: Server) -> None:
    assert "s3cret" not in json.dumps(engine(server).provenance())


RECIPE = """\
name: api
world: {name: pantry, workers: 1, max_episode_steps: 3, tasks: [put-one]}
agent: {type: react, instructions: "Say Action: look."}
evaluation: {splits: [seen], per_task: 2}
"""


def test_a_recipe_evaluates_a_model_behind_an_api(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    api = f"api:\n  base_url: {server.url}\n  model: echo\n  key_variable: TEST_KEY\n"
    (tmp_path / "api.yaml").write_text(RECIPE + api)
    Pipeline(load_recipe(tmp_path / "api.yaml"), Console(file=io.StringIO())).run()
    folder = tmp_path / "runs/api/evaluation/api-seen"
    episodes = read_episodes(folder / "episodes.jsonl")
    assert [len(episode.steps) for episode in episodes] == [3, 3]
    assert all(step.unreadable == "Thought:" for episode in episodes for step in episode.steps)
    assert all(step.usages[Role.LOW] == Usage(12, 0, 3) for episode in episodes for step in episode.steps)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["provenance"]["policy"] == f"api:echo at {server.url}"
    assert not any("s3cret" in path.read_text(errors="ignore") for path in tmp_path.rglob("*") if path.is_file())
