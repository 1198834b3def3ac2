"""Stage 2: step-level offline RL. Critics of whole utterances, and advantage-weighted regression of the policy."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from rich.console import Console
from torch import Tensor

from step_hrl.config import BackboneConfig, OfflineRLConfig
from step_hrl.data.transitions import trajectories_of
from step_hrl.errors import DataError
from step_hrl.losses import (
    advantage_weight,
    expectile_regression,
    squared_error,
    td_target,
    utterance_log_likelihood,
)
from step_hrl.models import backbone as backbones
from step_hrl.models.backbone import Backbone
from step_hrl.models.collate import (
    ROLES,
    Sample,
    TransitionBatch,
    TransitionTokens,
    collate,
    samples_in_order,
    tokenize,
)
from step_hrl.models.critics import Critics, Estimates
from step_hrl.models.tokenization import LineTokenizer
from step_hrl.runs.files import write_atomically
from step_hrl.runs.layout import VALUE_ESTIMATES_FILE, VALUES_FILE
from step_hrl.runs.progress_bar import ProgressBar
from step_hrl.training import parallel
from step_hrl.training.loop import LENGTH_MULTIPLE, Losses, Objective, train
from step_hrl.training.metrics import WeightedSum, by_role
from step_hrl.training.optimizers import Heads
from step_hrl.training.value_estimates import ValueEstimate, rank_correlations, to_lines
from step_hrl.types import Transition


class OfflineRL(Objective):
    r"""Minimizes :math:`\frac{1}{B} \sum_b w_b (L_Q + L_V + L_\pi)`, in one pass over the backbone.

    Log-probabilities of u, V(s), Q(s, u) and the target V(s') are computed from the same hidden states: the next state
    of a transition is mostly the state of another one in its sample, and is then read once. Source: the paper's stage
    2; the equations are in ``losses``.
    """

    weights: Tensor

    def __init__(self, backbone: Backbone, critics: Critics, config: OfflineRLConfig) -> None:
        """Train a backbone and its critics."""
        super().__init__(backbone)
        self.critics = critics.to(backbone.device)
        self.config = config
        values = torch.tensor([float(getattr(config.role_weights, role.value)) for role in ROLES])
        self.register_buffer("weights", values, persistent=False)

    def forward(self, batch: TransitionBatch) -> Losses:
        """Mean loss of a batch; by role, each loss, V(s) and the advantage."""
        log_likelihood, estimates = self._forward(batch)
        losses, advantage = self._critic_losses(batch, estimates)
        losses["policy_loss"] = self._policy_loss(log_likelihood, advantage) * batch.clone_mask
        weight = self.weights[batch.role] * batch.weight
        total = (weight * torch.stack(list(losses.values())).sum(dim=0)).mean()
        metrics = {**losses, "value": estimates.value, "advantage": advantage}
        sums: dict[str, WeightedSum] = {}
        for name, values in metrics.items():
            sums |= by_role(name, values.detach(), batch.role)
        return Losses(total, sums)

    def evaluate(self, batch: TransitionBatch) -> dict[str, WeightedSum]:
        """The critics' losses, the advantage and the utterances' log-likelihood, by role."""
        log_likelihood, estimates = self._forward(batch)
        losses, advantage = self._critic_losses(batch, estimates)
        sums: dict[str, WeightedSum] = {}
        for name, values in {**losses, "advantage": advantage, "log_likelihood": log_likelihood}.items():
            sums |= by_role(name, values, batch.role)
        return sums

    @property
    def heads(self) -> Heads:
        """The critics."""
        return Heads(self.critics, self.config.critic_learning_rate, self.config.critic_warmup)

    def after_update(self) -> None:
        """Update the target networks."""
        self.critics.move_targets(self.config.target_tau)

    def save(self, folder: Path) -> None:
        """Write the policy, and the critics beside it."""
        super().save(folder)
        self.critics.save(folder)

    def restore(self, folder: Path) -> None:
        """Load the policy and the critics."""
        super().restore(folder)
        self.critics.restore(folder)

    @torch.no_grad()
    def values(self, batch: TransitionBatch) -> tuple[Tensor, Tensor]:
        """V(s) and the target Q(s, u), whose difference is the advantage, of each transition (B,)."""
        _, estimates = self._forward(batch)
        return estimates.value, estimates.target_q

    def _forward(self, batch: TransitionBatch) -> tuple[Tensor, Estimates]:
        """The log-likelihood of each utterance (B,) and the critics' estimates."""
        hidden = self.backbone.hidden_states(batch)
        log_probs = self.backbone.score(batch, hidden).log_probs
        log_likelihood = utterance_log_likelihood(log_probs, batch.utterance_mask)
        scale = self.config.critic_grad_scale
        # Equal to the hidden states, with their gradient scaled.
        features = (scale * hidden + (1 - scale) * hidden.detach() if scale else hidden.detach()).flatten(0, 1).float()
        states, utterances = features[batch.state_end], features[batch.utterance_end]
        q_features = utterances if self.config.q_read_at == "utterance_end" else states
        return log_likelihood, self.critics(states, utterances, q_features, features[batch.next_state_end], batch.role)

    def _critic_losses(self, batch: TransitionBatch, estimates: Estimates) -> tuple[dict[str, Tensor], Tensor]:
        """L_Q and L_V, (B,) each, and the advantage (B,)."""
        target = td_target(batch.reward, estimates.next_target_value, batch.discount)
        losses = {
            "q_loss": squared_error(estimates.q, target).sum(dim=0),
            "value_loss": expectile_regression(estimates.value, estimates.target_q, self.config.expectile),
        }
        return losses, (estimates.target_q - estimates.value).detach()

    def _policy_loss(self, log_likelihood: Tensor, advantage: Tensor) -> Tensor:
        if self.config.policy_loss == "advantage":
            return -advantage * log_likelihood
        weight = advantage_weight(advantage, self.config.awr_beta, self.config.awr_max_weight)
        return -weight * log_likelihood


def train_offline_rl(
    backbone: Backbone,
    transitions: Sequence[Transition],
    validation: Sequence[Transition],
    config: OfflineRLConfig,
    *,
    collected: frozenset[str],
    output: Path,
    seed: int,
) -> None:
    """Train a policy further in this process (or in each process of a launcher); write checkpoints to ``output``.

    Args:
        backbone: The policy of stage 1, or of the previous round.
        transitions: Of whole episodes, in order, with the rewards of ``config.subtask_reward``.
        validation: Transitions of other episodes, which are not trained on. The critics' estimates for them are written
            to ``value_estimates.jsonl``, their rank correlations with the returns to ``values.json``.
        config: Of stage 2.
        collected: Ids of the episodes that are not demonstrations.
        output: Folder.
        seed: Of data order, dropout and the critics' initial weights.

    Raises :class:`~step_hrl.errors.DataError` where no transition is left to train on, or a sample is too long.
    """

    def weight(transition: Transition) -> float:
        weights = config.data_weights
        return weights.collected if transition.episode_id in collected else weights.demonstration

    kept = [t for t in transitions if weight(t) > 0 and getattr(config.role_weights, t.role.value) > 0]
    longest = min(config.max_tokens_per_sample, backbone.context)
    samples = _samples(encode(kept, backbone.tokenizer, config, longest, weight), config)
    if not samples:
        raise DataError("offline_rl", "no transitions of a source and role of weight > 0", "raise one of the weights")
    validation_samples = _samples(encode(validation, backbone.tokenizer, config, longest), config)
    trajectories = [
        encode(trajectory, backbone.tokenizer, config, longest) for trajectory in trajectories_of(validation)
    ]
    critics = Critics(backbone.width, n_critics=config.n_critics, seed=seed)
    objective = OfflineRL(backbone, critics, config)
    train(objective, samples, config, output=output, seed=seed, validation=validation_samples, label="offline RL")
    if parallel.is_first():
        # One forward pass per trajectory, which can take as long as many updates.
        console = Console(stderr=True, quiet=not trajectories)
        with ProgressBar(console, "values", len(trajectories), unit="trajectories") as progress_bar:
            estimates = estimate_values(objective, progress_bar.each(trajectories))
        write_atomically(output / VALUE_ESTIMATES_FILE, to_lines(estimates))
        write_atomically(output / VALUES_FILE, json.dumps(rank_correlations(estimates), indent=1) + "\n")


def run(
    config: OfflineRLConfig,
    backbone_config: BackboneConfig,
    policy: Path,
    transitions: Sequence[Transition],
    validation: Sequence[Transition],
    collected: frozenset[str],
    output: Path,
    seed: int,
) -> None:
    """Load a policy and train it further, in ``config.processes`` processes; see :func:`train_offline_rl`."""
    if config.processes > 1 and not parallel.launched():
        arguments = (config, backbone_config, policy, transitions, validation, collected, output, seed)
        parallel.run_in_processes(config.processes, run, arguments)
        return
    backbone = backbones.load(backbone_config.model_copy(update={"source": str(policy)}), seed=seed)
    train_offline_rl(backbone, transitions, validation, config, collected=collected, output=output, seed=seed)


def encode(
    transitions: Sequence[Transition],
    tokenizer: LineTokenizer,
    config: OfflineRLConfig,
    longest: int,
    weight: Callable[[Transition], float] = lambda _: 1.0,
) -> list[TransitionTokens]:
    """Encode transitions, in order, with the discounts of ``config`` and these weights.

    Raises :class:`~step_hrl.errors.DataError` for a transition of more than ``longest`` tokens.
    """

    def discount(transition: Transition) -> float:
        if transition.terminated or transition.next_state is None:
            return 0.0
        return config.gamma ** (transition.duration if config.discount == "step" else 1)

    return tokenize(transitions, tokenizer, longest, discount=discount, weight=weight)


def estimate_values(objective: OfflineRL, trajectories: Iterable[Sequence[TransitionTokens]]) -> list[ValueEstimate]:
    """The critics' estimates of each decision, with its discounted return to go in its trajectory.

    Rewards after a truncation are unknown and count as 0.
    """
    objective.eval()
    device = objective.backbone.device
    counts: Counter[tuple[str, str]] = Counter()
    estimates: list[ValueEstimate] = []
    for trajectory in trajectories:
        batch = collate([tuple(trajectory)], objective.backbone.tokenizer.pad, LENGTH_MULTIPLE)
        value, q = (cast("list[float]", cast(Any, tensor).tolist()) for tensor in objective.values(batch.to(device)))
        key = (trajectory[0].episode_id, trajectory[0].role.value)
        for numbers in zip(value, q, returns_to_go(trajectory), strict=True):
            estimates.append(ValueEstimate(*key, counts[key], *numbers))
            counts[key] += 1
    return estimates


def returns_to_go(transitions: Sequence[TransitionTokens]) -> list[float]:
    """The discounted return from each transition to the end.

    >>> from step_hrl.types import Role
    >>> step = TransitionTokens(Role.LOW, (), (), discount=0.5)
    >>> last = TransitionTokens(Role.LOW, (), (), reward=1.0)
    >>> returns_to_go([step, step, last])
    [0.25, 0.5, 1.0]
    """
    return_to_go, returns = 0.0, list[float]()
    for transition in reversed(transitions):
        return_to_go = transition.reward + transition.discount * return_to_go
        returns.append(return_to_go)
    return returns[::-1]


def _samples(transitions: Sequence[TransitionTokens], config: OfflineRLConfig) -> list[Sample]:
    """Cut each episode to samples of at most half a batch, so that a batch holds several of them."""
    episodes: dict[str, list[TransitionTokens]] = {}
    for transition in transitions:
        episodes.setdefault(transition.episode_id, []).append(transition)
    return [sample for each in episodes.values() for sample in samples_in_order(each, config.tokens_per_batch // 2)]
