"""The training loop both stages share: batches, updates, schedule, metrics, checkpoints, on one process or many."""

from __future__ import annotations

import contextlib
import hashlib
import math
import time
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs  # pyright: ignore[reportMissingTypeStubs]
from rich.console import Console
from torch import Tensor, nn

from step_hrl.config import TrainingConfig
from step_hrl.errors import ModelError
from step_hrl.models.backbone import Backbone
from step_hrl.models.collate import Trajectory, TransitionBatch, batches_of_similar_length, collate, rounded
from step_hrl.models.randomness import reseed, seeded
from step_hrl.runs import signals
from step_hrl.runs.progress_bar import ProgressBar
from step_hrl.training import checkpoints, trackers
from step_hrl.training.metrics import Means, MetricsLog, WeightedSum
from step_hrl.training.optimizers import Heads, create_optimizers, gather_state, schedule, set_learning_rate

LENGTH_MULTIPLE = 16
"""Rows are padded to a multiple of so many tokens; see :func:`~step_hrl.models.collate.rounded`."""


class Losses(NamedTuple):
    """What an objective makes of a batch: the mean over its samples to minimise, and figures worth a log line."""

    total: Tensor
    sums: dict[str, WeightedSum]


class Objective(nn.Module, ABC):
    """What a stage minimises. Its parameters, the backbone's among them, are what the loop trains."""

    def __init__(self, backbone: Backbone) -> None:
        """Own the backbone."""
        super().__init__()
        self.backbone = backbone

    @abstractmethod
    def forward(self, batch: TransitionBatch) -> Losses:
        """Mean loss of a batch. The sums have the same names for every batch."""

    @abstractmethod
    def evaluate(self, batch: TransitionBatch) -> dict[str, WeightedSum]:
        """Figures of a held-out batch, taken without gradients. The same names for every batch."""

    @property
    def heads(self) -> Heads | None:
        """What is trained beside the backbone, at a learning rate of its own."""
        return None

    def updated(self) -> None:
        """Do what must follow every update of the weights."""
        return

    def save(self, folder: Path) -> None:
        """Write all weights."""
        self.backbone.save(folder)

    def restore(self, folder: Path) -> None:
        """Set all weights to those :meth:`save` wrote. Raises OSError, ValueError, RuntimeError or DataError."""
        self.backbone.restore(folder)


class BatchPlan:
    """Which samples each process reads at each update, from (seed, update) alone: what a resumed run needs."""

    def __init__(self, samples: Sequence[Trajectory], config: TrainingConfig, seed: int, processes: int) -> None:
        """Plan the updates of ``config.epochs`` passes over these samples, or of ``config.tokens``."""
        self._sizes = _sizes(samples)
        tokens = sum(rows * length for rows, length in self._sizes)
        epochs = config.epochs if config.tokens is None else config.tokens / tokens
        self._tokens_per_batch = config.tokens_per_batch
        self._accumulated = config.gradient_accumulation
        self._seed = seed
        self._processes = processes
        whole = math.floor(epochs)
        per_epoch = [self._updates_in(self._batches(epoch)) for epoch in range(whole)]
        part = epochs - whole
        last = math.ceil(part * self._updates_in(self._batches(whole))) if part else 0
        self.updates = sum(per_epoch) + last
        """Updates in the whole run."""
        self.transitions_per_batch = sum(len(sample.transitions) for sample in samples) / len(self._batches(0))
        """Mean number of transitions in one process' forward pass."""

    def updates_from(self, done: int, process: int) -> Iterator[list[tuple[int, ...]]]:
        """Yield, for each update after ``done``, the batches of one process (``gradient_accumulation`` of them)."""
        group = self._processes * self._accumulated
        epoch = first = 0
        while first < self.updates:
            batches = self._batches(epoch)
            count = self._updates_in(batches)
            for update in range(max(done, first), min(first + count, self.updates)):
                start = (update - first) * group
                # The last update of an epoch is filled up from the epoch's beginning.
                yield [
                    batches[place % len(batches)] for place in range(start + process, start + group, self._processes)
                ]
            first += count
            epoch += 1

    def _updates_in(self, batches: Sequence[tuple[int, ...]]) -> int:
        return math.ceil(len(batches) / (self._processes * self._accumulated))

    def _batches(self, epoch: int) -> list[tuple[int, ...]]:
        return batches_of_similar_length(self._sizes, self._tokens_per_batch, self._seed, epoch)


def train(
    objective: Objective,
    samples: Sequence[Trajectory],
    config: TrainingConfig,
    *,
    output: Path,
    seed: int,
    validation: Sequence[Trajectory] = (),
    label: str = "training",
) -> dict[str, float]:
    """Minimise an objective; go on from the newest checkpoint in ``output`` if there is one.

    On a CPU, a run that was interrupted and resumed ends with bitwise the same weights as one that was not. The seed
    decides data order and dropout; global random state is left as it was.

    Returns the held-out figures after the last update (empty without held-out samples).

    Raises :class:`~step_hrl.errors.ModelError` when the loss is no longer finite (nothing is then overwritten),
    :class:`~step_hrl.errors.DataError` for a checkpoint that does not belong to this run.
    """
    accelerator = Accelerator(
        cpu=objective.backbone.device.type == "cpu",
        mixed_precision="no",
        log_with=list(trackers.chosen(config.trackers)) or None,
        project_dir=str(output),
        kwargs_handlers=[DistributedDataParallelKwargs(gradient_as_bucket_view=True)],
    )
    return _Training(objective, samples, config, output, seed, validation, label, accelerator).run()


class _Training:
    """The state of one call of :func:`train`."""

    def __init__(
        self,
        objective: Objective,
        samples: Sequence[Trajectory],
        config: TrainingConfig,
        output: Path,
        seed: int,
        validation: Sequence[Trajectory],
        label: str,
        accelerator: Any,
    ) -> None:
        self.samples = samples
        self.validation = validation
        self.config = config
        self.output = output
        self.seed = seed
        self.label = label
        self.accelerator = accelerator
        self.backbone = objective.backbone
        self.objective = objective.to(accelerator.device)
        self.optimizers = create_optimizers(objective.backbone, config, accelerator.num_processes, objective.heads)
        self.plan = BatchPlan(samples, config, seed, accelerator.num_processes)
        self.fingerprint = _fingerprint(samples, config, seed, accelerator.num_processes)
        self.means = Means()

    def run(self) -> dict[str, float]:
        done = self._resume()
        module: Any = self.accelerator.prepare(self.objective)
        log = MetricsLog(self.accelerator, self.output, done)
        console = Console(stderr=True, quiet=not self.accelerator.is_main_process)
        settings = {**self.config.model_dump(mode="json"), "seed": self.seed}
        with trackers.tracking(self.accelerator, f"{self.output} {self.fingerprint[:8]}", settings, console):
            return self._go_on(module, log, done, console)

    def _go_on(self, module: Any, log: MetricsLog, done: int, console: Console) -> dict[str, float]:
        figures: dict[str, float] = {}
        progress = ProgressBar(console, self.label, self.plan.updates, start=done, unit="updates")
        with seeded(self.seed), progress:
            tokens, since = 0, time.monotonic()
            for update, batches in enumerate(self.plan.updates_from(done, self.accelerator.process_index), done + 1):
                norm = self._update(module, update, batches)
                tokens += sum(self.samples[index].tokens for batch in batches for index in batch)
                line = ""
                if update % self.config.log_every == 0 or update == self.plan.updates:
                    rate = tokens * self.accelerator.num_processes / (time.monotonic() - since)
                    values = self._log(log, update, norm, rate)
                    line = f"loss {values['loss']:.3f}, {rate:.0f} tokens/s"
                    tokens, since = 0, time.monotonic()
                progress.advance(note=line)
                if update % self.config.checkpoint_every == 0 or update == self.plan.updates:
                    figures = self._evaluate(log, update)
                    self._checkpoint(update)
                    since = time.monotonic() if not tokens else since
                if update % self.config.log_every == 0 and self._must_stop():
                    self._keep(update)
                    raise signals.stop_exception()
        if not figures and self.validation:
            figures = self._evaluate(log, done)
        return figures

    def _resume(self) -> int:
        newest = checkpoints.latest(self.output)
        if newest is None:
            return 0
        return checkpoints.restore(newest, self.objective, self.optimizers, self.fingerprint).update

    def _update(self, module: Any, update: int, batches: Sequence[Sequence[int]]) -> float:
        """One update of the weights; the gradient's norm before clipping."""
        # Dropout depends on seed, update and process only, so that no random state has to be kept.
        reseed(hash((self.seed, update, self.accelerator.process_index)) & 0x7FFFFFFF)
        module.train()
        for place, indices in enumerate(batches):
            batch = self._batch(self.samples, indices)
            last = place == len(batches) - 1
            with contextlib.nullcontext() if last else self.accelerator.no_sync(module), self._autocast():
                losses: Losses = module(batch)
                # Every transition weighs the same, however many share its batch.
                share = len(batch) / self.plan.transitions_per_batch / len(batches)
                total = losses.total * share
            self.accelerator.backward(total)
            count = total.new_tensor(float(len(batch)))
            self.means.add({"loss": WeightedSum(losses.total * count, count), **losses.sums})
        factor = schedule(update - 1, self.plan.updates, self.config.warmup_fraction)
        heads = self.objective.heads
        set_learning_rate(self.optimizers, factor, heads_alone=heads is not None and update <= heads.alone)
        # Apart, so that heads with a long way to go do not slow the backbone.
        norms = [self._clip(self.backbone), *([self._clip(heads.module)] if heads is not None else [])]
        norm = math.hypot(*norms)
        if not math.isfinite(norm):
            read = sorted({self.samples[index].episode_id for indices in batches for index in indices})
            got = f"loss or gradient is not finite at update {update} of {self.plan.updates}, which read {_some(read)}"
            raise ModelError(str(self.output), got, "lower learning_rate; earlier checkpoints are untouched")
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.objective.updated()
        return norm

    def _clip(self, module: nn.Module) -> float:
        """Clip a module's gradients; their norm before."""
        trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        return float(torch.nn.utils.clip_grad_norm_(trained, self.config.max_gradient_norm, foreach=True))

    def _log(self, log: MetricsLog, update: int, norm: float, rate: float) -> dict[str, float]:
        factor = schedule(update - 1, self.plan.updates, self.config.warmup_fraction)
        values = self.means.read(self.accelerator)
        figures = {
            "learning_rate": self.config.learning_rate * factor,
            "gradient_norm": norm,
            "tokens_per_second": rate,
        }
        log.write(update, {**values, **figures})
        return values

    @torch.no_grad()
    def _evaluate(self, log: MetricsLog, update: int) -> dict[str, float]:
        if not self.validation:
            return {}
        self.objective.eval()
        batches = batches_of_similar_length(_sizes(self.validation), 4 * self.config.tokens_per_batch, self.seed, 0)
        means = Means()
        processes = self.accelerator.num_processes
        for place in range(self.accelerator.process_index, math.ceil(len(batches) / processes) * processes, processes):
            # Processes count the same names: one that has no batch left counts an empty one.
            batch = self._batch(self.validation, batches[place % len(batches)])
            with self._autocast():
                sums = self.objective.evaluate(batch)
            weight = 1.0 if place < len(batches) else 0.0
            means.add(
                {f"validation/{name}": WeightedSum(t.total * weight, t.number * weight) for name, t in sums.items()}
            )
        figures = means.read(self.accelerator)
        log.write(update, figures)
        return figures

    def _checkpoint(self, update: int) -> None:
        gather_state(self.optimizers)
        if self.accelerator.is_main_process:
            kept = self.config.keep_checkpoints
            checkpoints.save(self.output, self.objective, self.optimizers, self._state(update), kept)
        self.accelerator.wait_for_everyone()

    def _must_stop(self) -> bool:
        """Whether any process was asked to stop: all must at the same update."""
        asked = torch.tensor([float(signals.stop_requested())], device=self.accelerator.device)
        return bool(self.accelerator.reduce(asked, reduction="sum") > 0)

    def _keep(self, update: int) -> None:
        """Keep where training stands, unless a checkpoint does."""
        if update % self.config.checkpoint_every and update < self.plan.updates:
            gather_state(self.optimizers)
            if self.accelerator.is_main_process:
                checkpoints.save_to_go_on(self.output, self.objective, self.optimizers, self._state(update))
        self.accelerator.wait_for_everyone()

    def _state(self, update: int) -> checkpoints.TrainerState:
        return checkpoints.TrainerState(update, self.plan.updates, self.fingerprint)

    def _batch(self, samples: Sequence[Trajectory], indices: Sequence[int]) -> TransitionBatch:
        chosen = [samples[index] for index in indices]
        batch = collate(chosen, self.backbone.tokenizer.pad, LENGTH_MULTIPLE)
        return batch.to(self.accelerator.device)

    def _autocast(self) -> torch.autocast:
        return self.backbone.autocast(self.config.mixed_precision)


def _fingerprint(samples: Sequence[Trajectory], config: TrainingConfig, seed: int, processes: int) -> str:
    """Digest of all that decides the weights; what only decides when to log or save is left out."""
    unimportant = {"log_every", "checkpoint_every", "keep_checkpoints", "trackers", "processes", "validation_fraction"}
    settings: Mapping[str, Any] = config.model_dump(mode="json", exclude=unimportant)
    digest = hashlib.sha256(repr((sorted(settings.items()), seed, processes, len(samples))).encode())
    for sample in samples:
        for transition in sample.transitions:
            numbers = (
                transition.role.value,
                len(transition.state),
                transition.reward,
                transition.discount,
                transition.weight,
                transition.clone_mask,
            )
            digest.update(repr(numbers).encode() + array("i", [*transition.state, *transition.utterance]).tobytes())
        digest.update(b"|" + array("i", sample.after or ()).tobytes())
    return digest.hexdigest()[:16]


def _sizes(samples: Sequence[Trajectory]) -> list[tuple[int, int]]:
    return [(sample.rows, rounded(sample.longest, LENGTH_MULTIPLE)) for sample in samples]


def _some(names: Sequence[str]) -> str:
    """The first few of some names.

    >>> _some(["a", "b"]), _some(["a", "b", "c", "d", "e"])
    ('a, b', 'a, b, c and 2 more')
    """
    return ", ".join(names) if len(names) <= 3 else f"{', '.join(names[:3])} and {len(names) - 3} more"
