"""Evaluation: a policy plays a split's tasks, and its scores are summarized."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from step_hrl.agents.base import Watcher
from step_hrl.data.episode_files import read_episodes
from step_hrl.data.transitions import trust_policy
from step_hrl.engines.base import Engine
from step_hrl.errors import DataError
from step_hrl.evaluation import Summary, summarize, write_summary
from step_hrl.experts.base import expert_for
from step_hrl.runs.layout import EPISODES_FILE, SUMMARY_FILE, VALUES_FILE
from step_hrl.stages.base import RunContext, select
from step_hrl.stages.demonstrations import Demonstrations
from step_hrl.stages.oracle import oracle_label, with_oracle
from step_hrl.stages.playing import play_jobs, policy_engine
from step_hrl.stages.training import describe
from step_hrl.types import Episode, Role


class Evaluation:
    """A policy (None: the untrained backbone) on one split, with an expert in some roles if so wanted."""

    name = "evaluation"

    def __init__(
        self,
        context: RunContext,
        demonstrations: Demonstrations,
        split: str,
        policy: Path | None,
        *,
        per_task: int | None = None,
        oracle: Sequence[Role] = (),
        watcher: Watcher | None = None,
    ) -> None:
        """Evaluate on a split.

        Args:
            context: Of the run.
            demonstrations: What an untrained backbone from scratch makes its tokenizer from.
            split: Whose tasks are played.
            policy: The policy's folder.
            per_task: Variations of each task; the recipe's number where it is None.
            oracle: Roles in which the world's expert answers instead of the policy.
            watcher: Receives the episodes' events.

        Raises :class:`~step_hrl.errors.WorldError` for an unknown split.
        """
        self._context = context
        self._demonstrations = demonstrations
        self._split = split
        self._policy = policy
        self._oracle = tuple(oracle)
        self._watcher = watcher
        self.jobs = context.jobs(split, per_task or context.recipe.evaluation.per_task)

    @property
    def label(self) -> str:
        """The policy's name among the run's evaluations, such as ``offline_rl-round-1-oracle-high``."""
        if self._context.recipe.api is not None:
            label = "api"
        else:
            label = "untrained" if self._policy is None else self._context.layout.label(self._policy)
        return f"{label}-oracle-{oracle_label(self._oracle)}" if self._oracle else label

    @property
    def folder(self) -> Path:
        """Episodes and summary."""
        return self._context.layout.evaluation(self.label, self._split)

    @property
    def inputs(self) -> Mapping[str, Any]:
        """The policy and how it plays, and the expert where it takes roles."""
        inputs = self._context.playing_inputs(self._policy, self._split)
        if self._oracle:
            inputs["oracle"] = {
                "roles": oracle_label(self._oracle),
                "expert": expert_for(self._context.world.name).name,
            }
        return inputs

    @property
    def is_done(self) -> bool:
        """Whether its summary has been written."""
        return (self.folder / SUMMARY_FILE).is_file()

    def run(self) -> Summary:
        """Play what is not played yet; write the summary, and bring the policy's card up to date."""
        recipe = self._context.recipe
        digest = self._context.policy_digest(self._policy)
        name = f"{digest} with oracle {oracle_label(self._oracle)}" if self._oracle else digest
        facts = {**self._context.provenance(self._split), "policy": name}
        played = play_jobs(
            self._context,
            self.jobs,
            self._engine,
            file=self.folder / EPISODES_FILE,
            label=f"{self.label} on {self._split}",
            provenance=facts,
            watcher=self._watcher,
        )
        if recipe.evaluation.failed_as_zero:
            played = [replace(episode, score=0.0) if episode.error else episode for episode in played]
        summary = summarize(played, seed=recipe.seed)
        write_summary(self.folder / SUMMARY_FILE, summary, facts, _value_correlations(self._policy))
        if self._policy is not None and recipe.api is None and not self._oracle:
            describe(self._context, self._policy, digest)
        return summary

    def load(self) -> list[Episode]:
        """The episodes in the order of the jobs. Raises :class:`~step_hrl.errors.DataError` where some are missing."""
        file = self.folder / EPISODES_FILE
        found, missing = select(read_episodes(file), self.jobs)
        if missing:
            raise DataError(
                str(file), f"{len(missing)} of {len(self.jobs)} episodes are missing", "run `step-hrl eval`"
            )
        return found

    def _engine(self) -> Engine:
        texts = None
        if self._policy is None and self._context.recipe.api is None:
            transitions = (
                transition
                for episode in self._demonstrations.load()
                for transition in self._context.agent.transitions(episode, trust_policy)
            )
            texts = (text for transition in transitions for text in (transition.state, transition.utterance))
        engine = policy_engine(self._context, self._policy, self._context.recipe.generation, texts)
        return with_oracle(self._context, engine, self._oracle) if self._oracle else engine


def _value_correlations(policy: Path | None) -> dict[str, float] | None:
    """How the critics' values go with returns, if the policy is of stage 2."""
    file = policy.with_name(VALUES_FILE) if policy is not None else None
    return json.loads(file.read_text()) if file is not None and file.is_file() else None
