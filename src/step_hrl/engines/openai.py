"""Models behind an HTTP interface of OpenAI's form (Chat Completions), wherever they run.

The library ``openai`` retries what may pass (429, 5xx, timeouts, broken connections) with growing, random pauses.
"""

from __future__ import annotations

import os
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from importlib import import_module
from importlib.metadata import version
from typing import Any

from step_hrl.config import ApiConfig, GenerationConfig
from step_hrl.engines.base import Exchange
from step_hrl.errors import ModelError
from step_hrl.types import Ask, Usage, Utterance

INSTALL = "pip install 'step-hrl[api]'"
_PATIENCE_SECONDS = 0.05
"""How long answers may take before the worlds are listened to again."""
_HIDDEN = "***"


class OpenAIEngine:
    """Asks a server, several decisions at a time. Tokens are those the server counted."""

    def __init__(self, api: ApiConfig, config: GenerationConfig) -> None:
        """Connect to the server when first asked.

        Raises :class:`~step_hrl.errors.ModelError` where the library or the key is missing. The key is read from the
        environment and goes nowhere but to the server.
        """
        try:
            self._library: Any = import_module("openai")
        except ImportError as error:
            raise ModelError("api", "the package openai is not installed", INSTALL) from error
        key = os.environ.get(api.key_variable)
        if not key:
            raise ModelError(
                f"${api.key_variable}", "not set", "set it to the server's key (any word if it wants none)"
            )
        self._api = api
        self._config = config
        self._key = key
        self._client: Any = self._library.OpenAI(
            base_url=api.base_url, api_key=key, timeout=api.timeout_seconds, max_retries=api.retries
        )

    def provenance(self) -> dict[str, str]:
        """What a result must say of the engine. A server may change its model behind the same name."""
        return {
            "engine": "openai",
            "server": self._api.base_url,
            "model": self._api.model,
            "temperature": str(self._config.temperature),
            "repeat_temperature": str(self._config.repeat_temperature),
            "top_p": str(self._config.top_p),
            "openai": version("openai"),
        }

    def serve(self, exchange: Exchange) -> None:
        """Answer asks as they come; see :class:`~step_hrl.engines.base.Engine`.

        Raises :class:`~step_hrl.errors.ModelError` where the server refuses, or does not answer after all retries.
        """
        running: dict[Future[Utterance], int] = {}
        taken = 0
        with ThreadPoolExecutor(self._api.concurrent) as threads:
            try:
                finished: list[tuple[int, Utterance]] = []
                while (asks := exchange(finished)) or running:
                    for ask in asks:
                        running[threads.submit(self._answer, ask)] = taken
                        taken += 1
                    done, _ = wait(running, timeout=_PATIENCE_SECONDS, return_when=FIRST_COMPLETED)
                    finished = [(running.pop(future), future.result()) for future in done]
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                raise

    def _answer(self, ask: Ask) -> Utterance:
        try:
            answer = self._client.chat.completions.create(
                model=self._api.model,
                messages=[{"role": "user", "content": ask.prompt}],
                max_tokens=getattr(self._config.max_new_tokens, ask.role.value),
                temperature=self._config.temperature_of(ask),
                top_p=self._config.top_p,
            )
        except self._library.OpenAIError as error:
            raise self._failed(f"did not answer ({error})") from error
        except ValueError as error:  # the library reads the answer's JSON unguarded
            raise self._failed(f"answered what is not JSON ({error})") from error
        try:
            said = answer.choices[0].message.content
        except (AttributeError, IndexError, TypeError) as error:
            raise self._failed(f"answered without a reply ({answer!r})") from error
        if not isinstance(said, str | None):
            raise self._failed(f"replied by something other than text ({said!r})")
        return Utterance(said or "", _usage(answer))

    def _failed(self, got: str) -> ModelError:
        """Servers may repeat the key in what they complain of: it is not passed on."""
        line = " ".join(got.replace(self._key, _HIDDEN).split())
        remedy = "check base_url, model and key; what is finished is kept"
        return ModelError(self._api.base_url, line if len(line) <= 300 else f"{line[:300]}…", remedy)


def _usage(answer: Any) -> Usage:
    """The tokens that a server says it counted; none where it says nothing of the kind."""
    usage = getattr(answer, "usage", None)
    details = getattr(usage, "prompt_tokens_details", None)
    read, cached, said = (
        _count(getattr(holder, name, None))
        for holder, name in ((usage, "prompt_tokens"), (details, "cached_tokens"), (usage, "completion_tokens"))
    )
    return Usage(read, min(cached, read), said)


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0
