"""A server of OpenAI's form that can be killed, hang, fail and lie; told so by a file in its folder."""

from __future__ import annotations

import hashlib
import json
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CONDUCT_FILE = "conduct"
SLOW_SECONDS = 0.3
START_SECONDS = 20.0
ACTIONS = ("go to kitchen", "open drawer", "take key", "examine desk", "go to hall", "put cup on shelf")
LIES = (
    "<html>502</html>",
    "{",
    "[]",
    '{"choices": []}',
    '{"choices": [{"message": {"content": 7}}]}',
    '{"choices": 1, "usage": "many"}',
    '"' + "x" * 1_000_000 + '"',
)


class Conduct(str, Enum):
    """How a server treats whoever asks."""

    HONEST = "honest"
    SLOW = "slow"
    FAILS = "fails"
    LIES = "lies"


class Endpoint:
    """Such a server, in a process of its own; what it replies follows from the prompt alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.behave(Conduct.HONEST)
        self.start()

    def start(self) -> None:
        """Serve, on the same port as before."""
        self._process = subprocess.Popen([sys.executable, __file__, str(self.port), str(self._folder)])
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise TimeoutError("the test's server did not start")

    def behave(self, conduct: Conduct) -> None:
        """From now on."""
        (self._folder / CONDUCT_FILE).write_text(conduct.value)

    def stop(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()

    def hang(self) -> None:
        """Accept what comes and answer nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Answer again."""
        self._process.send_signal(signal.SIGCONT)


class _Handler(BaseHTTPRequestHandler):
    folder: Path

    def do_POST(self) -> None:
        prompt = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"][0]["content"]
        conduct = Conduct((self.folder / CONDUCT_FILE).read_text() or "honest")
        number = int(hashlib.sha256(prompt.encode()).hexdigest(), 16)
        if conduct is Conduct.SLOW:
            time.sleep(SLOW_SECONDS)
        if conduct is Conduct.FAILS:
            # As careless servers do, it repeats the key.
            self._answer(500, json.dumps({"error": {"message": f"{self.headers['Authorization']} is out of order"}}))
        elif conduct is Conduct.LIES:
            self._answer(200, LIES[number % len(LIES)])
        else:
            said = f"Action: {ACTIONS[number % len(ACTIONS)]}"
            self._answer(200, json.dumps({"choices": [{"message": {"role": "assistant", "content": said}}]}))

    def _answer(self, status: int, content: str) -> None:
        body = content.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with suppress(ConnectionError):  # who asked is gone
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


if __name__ == "__main__":
    _Handler.folder = Path(sys.argv[2])
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), _Handler).serve_forever()
