"""The training loop of both stages: batches, updates, schedule, metrics and checkpoints, in one process or several."""

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
from step_hrl.models.collate import Sample, TransitionBatch, batches_of, collate, size_of
from step_hrl.models.randomness import reseed, seeded
from step_hrl.runs import signals
from step_hrl.runs.progress_bar import ProgressBar
from step_hrl.training import checkpoints, trackers
from step_hrl.training.metrics import Means, MetricsLog, WeightedSum
from step_hrl.training.optimizers import Heads, create_optimizers, gather_state, schedule, set_learning_rate

LENGTH_MULTIPLE = 16
"""Rows are padded to a multiple of this length; see :func:`~step_hrl.models.prefix_rows.rounded`."""


class Losses(NamedTuple):
    """The mean loss over a batch's samples, which is minimized, and metrics to log."""

    total: Tensor
    sums: dict[str, WeightedSum]


class Objective(nn.Module, ABC):
    """The loss of a stage. The loop trains its parameters, which include the backbone's."""

    def __init__(self, backbone: Backbone) -> None:
        """Train this backbone."""
        super().__init__()
        self.backbone = backbone

    @abstractmethod
    def forward(self, batch: TransitionBatch) -> Losses:
        """Mean loss of a batch. The metrics have the same names for every batch."""

    @abstractmethod
    def evaluate(self, batch: TransitionBatch) -> dict[str, WeightedSum]:
        """Metrics of a validation batch, computed without gradients. The same names for every batch."""

    @property
    def heads(self) -> Heads | None:
        """The module that is trained beside the backbone, at its own learning rate."""
        return None

    def after_update(self) -> None:
        """Called after each update of the weights; by default it does nothing."""
        return

    def save(self, folder: Path) -> None:
        """Write all weights."""
        self.backbone.save(folder)

    def restore(self, folder: Path) -> None:
        """Load the weights that :meth:`save` wrote. Raises OSError, ValueError, RuntimeError or DataError."""
        self.backbone.restore(folder)


class BatchPlan:
    """The samples of each process at each update, a function of (seed, update), so that a run can be resumed."""

    def __init__(self, samples: Sequence[Sample], config: TrainingConfig, seed: int, processes: int) -> None:
        """Plan the updates of ``config.epochs`` passes over these samples, or of ``config.tokens``."""
        self._sizes = [size_of(sample) for sample in samples]
        epochs = config.epochs if config.tokens is None else config.tokens / sum(self._sizes)
        self._tokens_per_batch = config.tokens_per_batch
        self._accumulated = config.gradient_accumulation
        self._seed = seed
        self._processes = processes
        whole_epochs = math.floor(epochs)
        per_epoch = [self._updates_in(self._batches(epoch)) for epoch in range(whole_epochs)]
        fraction = epochs - whole_epochs
        last = math.ceil(fraction * self._updates_in(self._batches(whole_epochs))) if fraction else 0
        self.updates = sum(per_epoch) + last
        """Number of updates of the whole run."""
        self.transitions_per_batch = sum(map(len, samples)) / len(self._batches(0))
        """Mean number of transitions in a forward pass of one process."""

    def updates_from(self, done: int, process: int) -> Iterator[list[tuple[int, ...]]]:
        """Yield, for each update after ``done``, the batches of one process (``gradient_accumulation`` of them)."""
        group = self._processes * self._accumulated
        epoch = first = 0
        while first < self.updates:
            batches = self._batches(epoch)
            count = self._updates_in(batches)
            for update in range(max(done, first), min(first + count, self.updates)):
                start = (update - first) * group
                # The last update of an epoch is completed with the epoch's first batches.
                yield [
                    batches[index % len(batches)] for index in range(start + process, start + group, self._processes)
                ]
            first += count
            epoch += 1

    def _updates_in(self, batches: Sequence[tuple[int, ...]]) -> int:
        return math.ceil(len(batches) / (self._processes * self._accumulated))

    def _batches(self, epoch: int) -> list[tuple[int, ...]]:
        return batches_of(self._sizes, self._tokens_per_batch, self._seed, epoch)

    def tokens(self, batch: Sequence[int]) -> int:
        """Number of tokens of a batch, without padding."""
        return sum(self._sizes[index] for index in batch)


def train(
    objective: Objective,
    samples: Sequence[Sample],
    config: TrainingConfig,
    *,
    output: Path,
    seed: int,
    validation: Sequence[Sample] = (),
    label: str = "training",
) -> dict[str, float]:
    """Minimize an objective; resume from the newest checkpoint in ``output`` if there is one.

    On a CPU, a run that is interrupted and resumed ends with bitwise the same weights as an uninterrupted one. The seed
    determines data order and dropout; the global random state does not change.

    Returns the validation metrics after the last update (empty without validation samples).

    Raises :class:`~step_hrl.errors.ModelError` when loss or gradient is not finite (no checkpoint is overwritten),
    :class:`~step_hrl.errors.DataError` for a checkpoint of another run, and :class:`~step_hrl.runs.signals.Stopped`
    after a request to stop.
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
        samples: Sequence[Sample],
        config: TrainingConfig,
        output: Path,
        seed: int,
        validation: Sequence[Sample],
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
            return self._run_updates(module, log, done, console)

    def _run_updates(self, module: Any, log: MetricsLog, done: int, console: Console) -> dict[str, float]:
        metrics: dict[str, float] = {}
        progress = ProgressBar(console, self.label, self.plan.updates, start=done, unit="updates")
        with seeded(self.seed), progress:
            tokens, since = 0, time.monotonic()
            for update, batches in enumerate(self.plan.updates_from(done, self.accelerator.process_index), done + 1):
                norm = self._update(module, update, batches)
                tokens += sum(map(self.plan.tokens, batches))
                note = ""
                if update % self.config.log_every == 0 or update == self.plan.updates:
                    rate = tokens * self.accelerator.num_processes / (time.monotonic() - since)
                    values = self._log(log, update, norm, rate)
                    note = f"loss {values['loss']:.3f}, {rate:.0f} tokens/s"
                    tokens, since = 0, time.monotonic()
                progress.advance(note=note)
                if update % self.config.checkpoint_every == 0 or update == self.plan.updates:
                    metrics = self._evaluate(log, update)
                    self._save_checkpoint(update)
                    since = time.monotonic() if not tokens else since
                if update % self.config.log_every == 0 and self._stop_requested():
                    self._save_interrupted(update)
                    raise signals.stop_exception()
        if not metrics and self.validation:
            metrics = self._evaluate(log, done)
        return metrics

    def _resume(self) -> int:
        """Load the newest checkpoint; return the number of updates done."""
        newest = checkpoints.latest(self.output)
        if newest is None:
            return 0
        return checkpoints.restore(newest, self.objective, self.optimizers, self.fingerprint).update

    def _update(self, module: Any, update: int, batches: Sequence[Sequence[int]]) -> float:
        """Update the weights once; return the norm of the gradient before clipping."""
        # Dropout depends on seed, update and process only, so that checkpoints hold no random state.
        reseed(hash((self.seed, update, self.accelerator.process_index)) & 0x7FFFFFFF)
        module.train()
        for index, indices in enumerate(batches):
            batch = self._batch(self.samples, indices)
            is_last = index == len(batches) - 1
            with contextlib.nullcontext() if is_last else self.accelerator.no_sync(module), self._autocast():
                losses: Losses = module(batch)
                # Every transition has the same weight, whatever the size of its batch.
                scale = len(batch) / self.plan.transitions_per_batch / len(batches)
                total = losses.total * scale
            self.accelerator.backward(total)
            count = total.new_tensor(float(len(batch)))
            self.means.add({"loss": WeightedSum(losses.total * count, count), **losses.sums})
        factor = schedule(update - 1, self.plan.updates, self.config.warmup_fraction)
        heads = self.objective.heads
        set_learning_rate(self.optimizers, factor, heads_only=heads is not None and update <= heads.warmup_updates)
        # Clipped separately, so that large gradients of the heads do not scale down the backbone's.
        norms = [self._clip(self.backbone), *([self._clip(heads.module)] if heads is not None else [])]
        norm = math.hypot(*norms)
        if not math.isfinite(norm):
            seen = [transition for batch in batches for index in batch for transition in self.samples[index]]
            episodes = _first_names(sorted({transition.episode_id for transition in seen}))
            got = f"loss or gradient is not finite at update {update} of {self.plan.updates}, on episodes {episodes}"
            raise ModelError(str(self.output), got, "lower learning_rate; earlier checkpoints are unchanged")
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.objective.after_update()
        return norm

    def _clip(self, module: nn.Module) -> float:
        """Clip a module's gradients; return their norm before clipping."""
        trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
        return float(torch.nn.utils.clip_grad_norm_(trainable, self.config.max_gradient_norm, foreach=True))

    def _log(self, log: MetricsLog, update: int, norm: float, rate: float) -> dict[str, float]:
        factor = schedule(update - 1, self.plan.updates, self.config.warmup_fraction)
        values = self.means.read(self.accelerator)
        state = {
            "learning_rate": self.config.learning_rate * factor,
            "gradient_norm": norm,
            "tokens_per_second": rate,
        }
        log.write(update, {**values, **state})
        return values

    @torch.no_grad()
    def _evaluate(self, log: MetricsLog, update: int) -> dict[str, float]:
        if not self.validation:
            return {}
        self.objective.eval()
        batches = batches_of([*map(size_of, self.validation)], 4 * self.config.tokens_per_batch, self.seed, 0)
        means = Means()
        processes = self.accelerator.num_processes
        for index in range(self.accelerator.process_index, math.ceil(len(batches) / processes) * processes, processes):
            # All processes must add the same names: one without a batch left adds another batch with weight 0.
            batch = self._batch(self.validation, batches[index % len(batches)])
            with self._autocast():
                sums = self.objective.evaluate(batch)
            weight = 1.0 if index < len(batches) else 0.0
            means.add(
                {f"validation/{name}": WeightedSum(s.total * weight, s.number * weight) for name, s in sums.items()}
            )
        metrics = means.read(self.accelerator)
        log.write(update, metrics)
        return metrics

    def _save_checkpoint(self, update: int) -> None:
        gather_state(self.optimizers)
        if self.accelerator.is_main_process:
            keep = self.config.keep_checkpoints
            checkpoints.save(self.output, self.objective, self.optimizers, self._state(update), keep)
        self.accelerator.wait_for_everyone()

    def _stop_requested(self) -> bool:
        """Whether any process was asked to stop; all processes then stop at the same update."""
        requests = torch.tensor([float(signals.stop_requested())], device=self.accelerator.device)
        return bool(self.accelerator.reduce(requests, reduction="sum") > 0)

    def _save_interrupted(self, update: int) -> None:
        """Save the state to resume from, unless there is a checkpoint of this update."""
        if update % self.config.checkpoint_every and update < self.plan.updates:
            gather_state(self.optimizers)
            if self.accelerator.is_main_process:
                checkpoints.save_interrupted(self.output, self.objective, self.optimizers, self._state(update))
        self.accelerator.wait_for_everyone()

    def _state(self, update: int) -> checkpoints.TrainerState:
        return checkpoints.TrainerState(update, self.plan.updates, self.fingerprint)

    def _batch(self, samples: Sequence[Sample], indices: Sequence[int]) -> TransitionBatch:
        batch = collate([samples[index] for index in indices], self.backbone.tokenizer.pad, LENGTH_MULTIPLE)
        return batch.to(self.accelerator.device)

    def _autocast(self) -> torch.autocast:
        return self.backbone.autocast(self.config.mixed_precision)


def _fingerprint(samples: Sequence[Sample], config: TrainingConfig, seed: int, processes: int) -> str:
    """Digest of everything that determines the weights, without settings that affect only logging and saving."""
    excluded = {"log_every", "checkpoint_every", "keep_checkpoints", "trackers", "processes", "validation_fraction"}
    settings: Mapping[str, Any] = config.model_dump(mode="json", exclude=excluded)
    digest = hashlib.sha256(repr((sorted(settings.items()), seed, processes, len(samples))).encode())
    for sample in samples:
        for transition in sample:
            numbers = (
                transition.role.value,
                len(transition.state),
                transition.reward,
                transition.discount,
                transition.weight,
                transition.clone_mask,
            )
            tokens = (*transition.state, *transition.utterance, *transition.next_state)
            digest.update(repr(numbers).encode() + array("i", tokens).tobytes())
        digest.update(b"|")
    return digest.hexdigest()[:16]


def _first_names(names: Sequence[str]) -> str:
    """The first three names, and how many more there are.

    >>> _first_names(["a", "b"]), _first_names(["a", "b", "c", "d", "e"])
    ('a, b', 'a, b, c and 2 more')
    """
    return ", ".join(names) if len(names) <= 3 else f"{', '.join(names[:3])} and {len(names) - 3} more"
