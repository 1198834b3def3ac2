"""The only interaction loop: many episodes at once, their decisions answered in batches.

Each episode is an agent's generator. The engine answers its asks, batched with those of all other episodes and roles;
the worker that holds its environment executes its actions. An episode waits only for its own answers: while the engine
decodes, environments step, and the asks that follow join the batch.
"""

from __future__ import annotations

import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from step_hrl.agents.base import Agent, EpisodeLog, Play, Watcher
from step_hrl.engines.base import Answers, Engine
from step_hrl.envs.pool import EnvPool, Reply, Slot
from step_hrl.errors import StepHrlError, WorkerLost
from step_hrl.prompts.text import REPLY_CHARACTERS
from step_hrl.runs import signals
from step_hrl.types import Act, Ask, Episode, Job, Outcome, Role, Utterance

ATTEMPTS = 2
"""How often an episode is started when its worker is lost; after that it is recorded with an error."""
GATHER_SECONDS = 0.03
"""How long an ask may wait for environments that are still busy, so that prompts are batched."""


@dataclass
class _Running:
    """An episode in progress."""

    job: Job
    slot: Slot
    attempt: int
    log: EpisodeLog
    play: Play | None = None
    ask: Ask | None = None
    asked_at: float = 0.0
    asked: int = 0
    prompts: set[tuple[Role, str]] = field(default_factory=set[tuple[Role, str]])
    info: dict[str, Any] = field(default_factory=dict[str, Any])

    def is_repeat(self, ask: Ask) -> bool:
        """Whether the same role has read the same prompt before in this episode."""
        read = (ask.role, ask.prompt)
        known = read in self.prompts
        self.prompts.add(read)
        return known


def rollout(
    jobs: Iterable[Job],
    agent: Agent,
    engine: Engine,
    pool: EnvPool,
    *,
    concurrent: int,
    on_episode: Callable[[Episode], None],
    provenance: Mapping[str, str] | None = None,
    watcher: Watcher | None = None,
) -> None:
    """Play every job, at most ``concurrent`` at once; pass each episode to ``on_episode`` as soon as it ends.

    The episode that a lost worker was executing is played once more from its start and, if it is lost again, passed on
    with ``Episode.error``; bystanders in the same worker are restarted. An ask that the engine has no answer for ends
    its episode.

    Raises:
        WorldError: An environment cannot be opened, or a task does not exist.
        Stopped: A stop was requested before all jobs had started; the running episodes have ended.
    """
    driver = _Driver(
        deque((job, 1) for job in jobs), concurrent, agent, pool, on_episode, dict(provenance or {}), watcher
    )
    engine.serve(driver.exchange)
    if driver.left:
        raise signals.stop_exception()


class _Driver:
    def __init__(
        self,
        queue: deque[tuple[Job, int]],
        concurrent: int,
        agent: Agent,
        pool: EnvPool,
        on_episode: Callable[[Episode], None],
        provenance: dict[str, str],
        watcher: Watcher | None,
    ) -> None:
        self._queue = queue
        self._concurrent = concurrent
        self._agent = agent
        self._pool = pool
        self._on_episode = on_episode
        self._provenance = provenance
        self._watcher = watcher
        self._running: dict[Slot, _Running] = {}
        self._answering: dict[int, _Running] = {}
        self._asked = 0

    def exchange(self, finished: Answers) -> list[Ask]:
        """Pass answers on; return new asks, waiting for some only while none is being answered."""
        for number, utterance in finished:
            episode = self._answering.pop(number)
            if self._running.get(episode.slot) is not episode:  # lost meanwhile
                continue
            if utterance is None:
                self._finish(episode, error=None)
            else:
                self._advance(episode, replace(utterance, text=utterance.text[:REPLY_CHARACTERS]))
        while self._running or (self._queue and not signals.stop_requested()):
            self._start_episodes()
            for reply in self._pool.poll(self._patience()):
                self._hear(reply)
            asking = self._asking()
            if asking and self._must_answer(asking):
                return [self._hand_over(episode) for episode in asking]
            if self._answering:
                break
        return []

    @property
    def left(self) -> int:
        """Number of jobs that were not started because a stop was requested."""
        return len(self._queue)

    def _asking(self) -> list[_Running]:
        return [episode for episode in self._running.values() if episode.ask is not None]

    def _start_episodes(self) -> None:
        while self._queue and len(self._running) < self._concurrent and not signals.stop_requested():
            slot = self._pool.acquire()
            if slot is None:
                return
            job, attempt = self._queue.popleft()
            self._running[slot] = _Running(job, slot, attempt, EpisodeLog(job.task, self._watcher))
            self._pool.reset(slot, job.task, job.seed)

    def _patience(self) -> float:
        """How long to wait for the environments, in seconds."""
        asking = self._asking()
        if self._answering or (asking and self._must_answer(asking)):
            return 0.0
        return GATHER_SECONDS if asking else 1.0

    def _must_answer(self, asking: list[_Running]) -> bool:
        """Whether to answer now: no environment is busy, or the first ask has waited long enough."""
        if len(asking) + len(self._answering) >= len(self._running):
            return True
        return time.monotonic() - min(episode.asked_at for episode in asking) >= GATHER_SECONDS

    def _hand_over(self, episode: _Running) -> Ask:
        assert episode.ask is not None, "only what was asked is handed over"
        ask, episode.ask = episode.ask, None
        self._answering[self._asked] = episode
        self._asked += 1
        return ask

    def _hear(self, reply: Reply) -> None:
        episode = self._running.get(reply.slot)
        if episode is None:
            return
        if isinstance(reply.error, WorkerLost):
            self._lose(episode, reply.error, reply.blamed)
        elif reply.error is not None:
            raise reply.error
        elif episode.play is None:
            self._begin(episode, *reply.result)
        else:
            observation, reward, terminated, truncated, info = reply.result
            episode.info = info
            self._advance(episode, Outcome(observation, reward, terminated, truncated, bool(info["is_valid_action"])))

    def _begin(self, episode: _Running, observation: Any, info: Mapping[str, Any]) -> None:
        task = replace(episode.job.task, instruction=str(info["instruction"]))
        episode.log.task = task
        episode.play = self._agent.play(task, observation, episode.log)
        self._advance(episode, None)

    def _advance(self, episode: _Running, answer: Utterance | Outcome | None) -> None:
        """Send the generator its answer and pass on what it yields next."""
        assert episode.play is not None, "an episode is begun before it is advanced"
        try:
            wanted = next(episode.play) if answer is None else episode.play.send(answer)
        except StopIteration:
            self._finish(episode, error=None)
            return
        if isinstance(wanted, Act):
            self._pool.step(episode.slot, wanted.action)
        else:
            episode.asked += 1
            seed = zlib.crc32(f"{episode.job.id} {episode.asked}".encode())
            repeat = episode.is_repeat(wanted)
            episode.ask = replace(wanted, seed=seed, job=episode.job, number=episode.asked, is_repeat=repeat)
            episode.asked_at = time.monotonic()

    def _lose(self, episode: _Running, error: StepHrlError, blamed: bool) -> None:
        """Play it once more. Bystanders of another episode's crash are not charged an attempt."""
        if blamed and episode.attempt >= ATTEMPTS:
            self._finish(episode, error=f"{error.where}: {error.got}")
            return
        self._forget(episode)
        self._queue.appendleft((episode.job, episode.attempt + blamed))

    def _finish(self, episode: _Running, error: str | None) -> None:
        self._forget(episode)
        facts = {"agent": self._agent.name, **self._provenance, "attempts": str(episode.attempt)}
        facts |= {key: str(episode.info[key]) for key in ("actions", "ticks") if key in episode.info}
        finished = Episode(
            id=episode.job.id,
            task=episode.log.task,
            segments=episode.log.segments,
            score=float(episode.info.get("score", 0.0)),
            success=bool(episode.info.get("success", False)) and error is None,
            seed=episode.job.seed,
            provenance=facts,
            error=error,
        )
        self._on_episode(finished)
        if self._watcher:
            self._watcher.episode_finished(finished)

    def _forget(self, episode: _Running) -> None:
        del self._running[episode.slot]
        self._pool.release(episode.slot)
