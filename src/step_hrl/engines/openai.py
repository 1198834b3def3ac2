"""Models behind an HTTP API compatible with OpenAI's Chat Completions.

The library ``openai`` retries transient errors (429, 5xx, timeouts, broken connections) with jittered exponential
backoff.
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
_POLL_SECONDS = 0.05
"""How long to wait for answers before the exchange is called again."""
_HIDDEN = "***"


class OpenAIEngine:
    """Sends asks to a server, several at a time. Token counts are the server's."""

    def __init__(self, api: ApiConfig, config: GenerationConfig) -> None:
        """Create a client; it connects at the first ask.

        Raises :class:`~step_hrl.errors.ModelError` where the library or the key is missing. The key is read from the
        environment and sent only to the server.
        """
        try:
            self._library: Any = import_module("openai")
        except ImportError as error:
            raise ModelError("api", "the package openai is not installed", INSTALL) from error
        key = os.environ.get(api.key_variable)
        if not key:
            remedy = "set it to the server's key (any word if the server needs none)"
            raise ModelError(f"${api.key_variable}", "not set", remedy)
        self._api = api
        self._config = config
        self._key = key
        self._client: Any = self._library.OpenAI(
            base_url=api.base_url, api_key=key, timeout=api.timeout_seconds, max_retries=api.retries
        )

    def provenance(self) -> dict[str, str]:
        """See :class:`~step_hrl.engines.base.Engine`. A server may change its model under the same name."""
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
        asked = 0
        with ThreadPoolExecutor(self._api.concurrent) as threads:
            try:
                finished: list[tuple[int, Utterance]] = []
                while (asks := exchange(finished)) or running:
                    for ask in asks:
                        running[threads.submit(self._answer, ask)] = asked
                        asked += 1
                    done, _ = wait(running, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
                    finished = [(running.pop(future), future.result()) for future in done]
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                raise

    def _answer(self, ask: Ask) -> Utterance:
        try:
            response = self._client.chat.completions.create(
                model=self._api.model,
                messages=[{"role": "user", "content": ask.prompt}],
                max_tokens=getattr(self._config.max_new_tokens, ask.role.value),
                temperature=self._config.temperature_of(ask),
                top_p=self._config.top_p,
            )
        except self._library.OpenAIError as error:
            raise self._error(f"did not answer ({error})") from error
        except ValueError as error:  # the library does not catch errors of the JSON decoder
            raise self._error(f"response is not JSON ({error})") from error
        try:
            reply = response.choices[0].message.content
        except (AttributeError, IndexError, TypeError) as error:
            raise self._error(f"response without a reply ({response!r})") from error
        if not isinstance(reply, str | None):
            raise self._error(f"reply is not text ({reply!r})")
        return Utterance(reply or "", _usage(response))

    def _error(self, got: str) -> ModelError:
        """An error message without the key, which servers may repeat in theirs."""
        line = " ".join(got.replace(self._key, _HIDDEN).split())
        remedy = "check base_url, model and key; finished episodes are kept"
        return ModelError(self._api.base_url, line if len(line) <= 300 else f"{line[:300]}…", remedy)


def _usage(response: Any) -> Usage:
    """The token counts that a server reports; 0 where it reports none."""
    usage = getattr(response, "usage", None)
    details = getattr(usage, "prompt_tokens_details", None)
    prompt, cached, completion = (
        _count(getattr(part, name, None))
        for part, name in ((usage, "prompt_tokens"), (details, "cached_tokens"), (usage, "completion_tokens"))
    )
    return Usage(prompt, min(cached, prompt), completion)


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0
