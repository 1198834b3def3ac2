"""A model server with OpenAI's interface that can be killed or suspended, and can fail or send malformed replies.

A file in its folder sets how it behaves.
"""

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

BEHAVIOR_FILE = "behavior"
SLOW_SECONDS = 0.3
START_SECONDS = 20.0
ACTIONS = ("go to kitchen", "open drawer", "take key", "examine desk", "go to hall", "put cup on shelf")
MALFORMED_REPLIES = (
    "<html>502</html>",
    "{",
    "[]",
    '{"choices": []}',
    '{"choices": [{"message": {"content": 7}}]}',
    '{"choices": 1, "usage": "many"}',
    '"' + "x" * 1_000_000 + '"',
)


class Behavior(str, Enum):
    """How a server answers requests."""

    NORMAL = "normal"
    SLOW = "slow"
    FAILS = "fails"
    MALFORMED = "malformed"


class Endpoint:
    """Such a server in a process of its own; a normal reply depends on the prompt alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.behave(Behavior.NORMAL)
        self.start()

    def start(self) -> None:
        """Start the server, on the same port as before."""
        self._process = subprocess.Popen([sys.executable, __file__, str(self.port), str(self._folder)])
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise TimeoutError(f"no server on port {self.port} after {START_SECONDS:g} s")

    def behave(self, behavior: Behavior) -> None:
        """Set how requests are answered from now on."""
        (self._folder / BEHAVIOR_FILE).write_text(behavior.value)

    def stop(self) -> None:
        """Kill the server."""
        self._process.kill()
        self._process.wait()

    def hang(self) -> None:
        """Suspend the server: it accepts connections and answers nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume the server after :meth:`hang`."""
        self._process.send_signal(signal.SIGCONT)


class _Handler(BaseHTTPRequestHandler):
    folder: Path

    def do_POST(self) -> None:
        prompt = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"][0]["content"]
        behavior = Behavior((self.folder / BEHAVIOR_FILE).read_text() or Behavior.NORMAL)
        number = int(hashlib.sha256(prompt.encode()).hexdigest(), 16)
        if behavior is Behavior.SLOW:
            time.sleep(SLOW_SECONDS)
        if behavior is Behavior.FAILS:
            # Some servers repeat the key in their error messages.
            self._answer(500, json.dumps({"error": {"message": f"{self.headers['Authorization']} is out of order"}}))
        elif behavior is Behavior.MALFORMED:
            self._answer(200, MALFORMED_REPLIES[number % len(MALFORMED_REPLIES)])
        else:
            reply = f"Action: {ACTIONS[number % len(ACTIONS)]}"
            self._answer(200, json.dumps({"choices": [{"message": {"role": "assistant", "content": reply}}]}))

    def _answer(self, status: int, content: str) -> None:
        body = content.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with suppress(ConnectionError):  # the client is gone
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


if __name__ == "__main__":
    _Handler.folder = Path(sys.argv[2])
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), _Handler).serve_forever()
