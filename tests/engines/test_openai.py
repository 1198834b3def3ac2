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
    """Repeats the last line of what it is asked, after failing as often as it is told to."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.fails: list[int] = []
        self.complaint = "not now"
        self.lies = ""
        self.delay = 0.0
        self.usage: dict[str, Any] | None = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}
        self.requests: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.under_way = self.most_under_way = 0
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
            self.server.under_way += 1
            self.server.most_under_way = max(self.server.most_under_way, self.server.under_way)
            status = self.server.fails.pop(0) if self.server.fails else 200
        time.sleep(self.server.delay)
        with self.server.lock:
            self.server.under_way -= 1
        if self.server.lies:
            self._answer(status, self.server.lies)
            return
        said = request["messages"][0]["content"].splitlines()[-1]
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": said}}
        answer = {"id": "1", "object": "chat.completion", "created": 0, "model": "echo", "choices": [choice]}
        answer |= {"usage": self.server.usage} if self.server.usage else {}
        self._answer(status, json.dumps(answer if status == 200 else {"error": {"message": self.server.complaint}}))

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
    """All asks, brought one by one as the first are answered."""
    left, found = list(asks), dict[int, Utterance]()

    def exchange(finished: Sequence[tuple[int, Utterance]]) -> Sequence[Ask]:
        found.update(finished)
        brought, left[:] = left[:2], left[2:]
        return brought

    engine.serve(exchange)
    return found


def test_every_ask_is_answered_with_the_tokens_the_server_counted(server: Server) -> None:
    found = answers(engine(server), [ask(Role.LOW, f"a\nword {number}") for number in range(7)])
    assert found == {number: Utterance(f"word {number}", Usage(12, 0, 3)) for number in range(7)}
    assert server.keys == {"Bearer s3cret"}
    assert {request["max_tokens"] for request in server.requests} == {12}
    assert {request["temperature"] for request in server.requests} == {0.5}


def test_cached_tokens_count_where_the_server_tells(server: Server) -> None:
    server.usage = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10}
    server.usage |= {"prompt_tokens_details": {"cached_tokens": 8}}
    assert answers(engine(server), [ask(Role.HIGH, "a")])[0].usage == Usage(9, 8, 1)
    server.usage = None
    assert answers(engine(server), [ask(Role.HIGH, "a")])[0].usage == Usage()


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_may_pass_is_tried_again(server: Server, status: int) -> None:
    server.fails = [status, status]
    assert answers(engine(server, retries=2), [ask(Role.LOW, "a")])[0].text == "a"
    assert len(server.requests) == 3


def test_what_does_not_pass_is_said_in_one_line(server: Server) -> None:
    server.fails = [429] * 3
    with pytest.raises(ModelError, match=r"http://127.*: did not answer \(.*not now.*\); check base_url") as complaint:
        answers(engine(server, retries=1), [ask(Role.LOW, "a")])
    assert "s3cret" not in str(complaint.value)
    assert len(server.requests) == 2
    server.fails = [401]
    with pytest.raises(ModelError, match="did not answer"):
        answers(engine(server), [ask(Role.LOW, "a")])


def test_a_server_that_is_silent_is_given_up(server: Server) -> None:
    server.delay = 2.0
    with pytest.raises(ModelError, match="timed out"):
        answers(engine(server, retries=0, timeout_seconds=0.2), [ask(Role.LOW, "a")])


def replied(message: Any, **others: Any) -> str:
    return json.dumps({"id": "1", "object": "chat.completion", "choices": [{"index": 0, "message": message}], **others})


@pytest.mark.parametrize(
    ("lie", "complaint"),
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
def test_a_server_that_answers_something_else_is_named(server: Server, lie: str, complaint: str) -> None:
    server.lies = lie
    with pytest.raises(ModelError, match=rf"http://127.*: {complaint} \(.*\); check base_url"):
        answers(engine(server, retries=0), [ask(Role.LOW, "a")])


@pytest.mark.parametrize(
    "usage",
    [5, [], {}, {"prompt_tokens": "many"}, {"prompt_tokens": -3, "completion_tokens": None}, {"prompt_tokens": True}],
)
def test_tokens_that_are_no_numbers_are_not_counted(server: Server, usage: Any) -> None:
    server.lies = replied({"role": "assistant", "content": "look"}, usage=usage)
    assert answers(engine(server), [ask(Role.LOW, "a")])[0] == Utterance("look", Usage())


def test_a_reply_that_holds_nothing_is_empty(server: Server) -> None:
    server.lies = replied({"role": "assistant", "content": None})
    assert answers(engine(server), [ask(Role.LOW, "a")])[0].text == ""


def test_a_key_that_the_server_repeats_is_not_passed_on(server: Server) -> None:
    server.fails, server.complaint = [401], "no such key: s3cret"
    with pytest.raises(ModelError, match=r"no such key: \*\*\*"):
        answers(engine(server), [ask(Role.LOW, "a")])
    server.lies = '{"key": "s3cret"}'
    with pytest.raises(ModelError) as complaint:
        answers(engine(server), [ask(Role.LOW, "a")])
    assert "s3cret" not in str(complaint.value)


def test_no_more_are_asked_at_once_than_allowed(server: Server) -> None:
    server.delay = 0.05
    answers(engine(server, concurrent=3), [ask(Role.LOW, "a")] * 12)
    assert server.most_under_way == 3


def test_a_key_that_is_not_set_is_named(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_KEY")
    with pytest.raises(ModelError, match=r"\$TEST_KEY: not set"):
        engine(server)


def test_the_key_stands_in_no_result(server: Server) -> None:
    assert "s3cret" not in json.dumps(engine(server).provenance())


RECIPE = """\
name: api
world: {name: pantry, workers: 1, max_episode_steps: 3, tasks: [put-one]}
agent: {type: react, instructions: "Say Action: look."}
evaluation: {splits: [seen], per_task: 2}
"""


def test_a_recipe_plays_a_model_behind_an_interface(
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
