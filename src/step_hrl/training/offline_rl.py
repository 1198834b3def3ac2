"""Stage 2: step-level offline RL. Values of whole utterances, and a policy that follows the better ones."""

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
    Trajectory,
    TransitionBatch,
    TransitionTokens,
    collate,
    pieces,
    tokenize_trajectories,
)
from step_hrl.models.critics import Critics, Estimates
from step_hrl.models.tokenization import LineTokenizer
from step_hrl.runs.files import write_atomically
from step_hrl.runs.layout import VALUE_ESTIMATES_FILE, VALUES_FILE
from step_hrl.runs.progress_bar import ProgressBar
from step_hrl.training import parallel
from step_hrl.training.loop import Losses, Objective, train
from step_hrl.training.metrics import WeightedSum, by_role
from step_hrl.training.optimizers import Heads
from step_hrl.training.value_estimates import ValueEstimate, rank_correlations, to_lines
from step_hrl.types import Transition


class OfflineRL(Objective):
    r"""Minimises :math:`\frac{1}{B} \sum_b w_b (L_Q + L_V + L_\pi)`; one pass over the backbone serves all three.

    The log-probabilities of u, V(s) and Q(s, u) are read from the same hidden states, and so is the target's V(s'): the
    state a transition led to is mostly the state of the next row (see ``models.collate.Trajectory``). Source: the paper's
    stage 2; the equations are in ``losses``.
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
        """Mean loss of a batch; each loss, and what the critics think, by role."""
        log_likelihood, estimates = self._read(batch)
        losses, advantage = self._critic_losses(batch, estimates)
        losses["policy_loss"] = self._policy_loss(log_likelihood, advantage) * batch.clone_mask
        count = self.weights[batch.role] * batch.weight
        total = (count * torch.stack(list(losses.values())).sum(dim=0)).mean()
        figures = {**losses, "value": estimates.value, "advantage": advantage}
        sums: dict[str, WeightedSum] = {}
        for name, values in figures.items():
            sums |= by_role(name, values.detach(), batch.role)
        return Losses(total, sums)

    def evaluate(self, batch: TransitionBatch) -> dict[str, WeightedSum]:
        """The same figures, and the log-likelihood of what was said."""
        log_likelihood, estimates = self._read(batch)
        losses, advantage = self._critic_losses(batch, estimates)
        sums: dict[str, WeightedSum] = {}
        for name, values in {**losses, "advantage": advantage, "log_likelihood": log_likelihood}.items():
            sums |= by_role(name, values, batch.role)
        return sums

    @property
    def heads(self) -> Heads:
        """The critics."""
        return Heads(self.critics, self.config.critic_learning_rate, self.config.critic_warmup)

    def updated(self) -> None:
        """Let the target critics follow."""
        self.critics.move_targets(self.config.target_tau)

    def save(self, folder: Path) -> None:
        """Write the policy, and the critics beside it."""
        super().save(folder)
        self.critics.save(folder)

    def restore(self, folder: Path) -> None:
        """Set policy and critics to what was written."""
        super().restore(folder)
        self.critics.restore(folder)

    @torch.no_grad()
    def values(self, batch: TransitionBatch) -> tuple[Tensor, Tensor]:
        """V(s) and the Q(s, u) that advantages are taken of, of each transition (B,)."""
        _, estimates = self._read(batch)
        return estimates.value, estimates.target_q

    def _read(self, batch: TransitionBatch) -> tuple[Tensor, Estimates]:
        hidden = self.backbone.hidden_states(batch)
        log_probs = self.backbone.score(batch, hidden=hidden).log_probs[: len(batch)]
        log_likelihood = utterance_log_likelihood(log_probs, batch.utterance_mask[: len(batch)])
        share = self.config.critic_grad_scale
        # The same numbers, with only a share of the gradient.
        features = (share * hidden + (1 - share) * hidden.detach() if share else hidden.detach()).float()
        states = _at(features, batch.state_end)
        utterances = _at(features[: len(batch)], batch.utterance_end)
        state = states[: len(batch)]
        q_features = utterances if self.config.q_read_at == "utterance_end" else state
        return log_likelihood, self.critics(state, utterances, q_features, states[batch.next_row], batch.role)

    def _critic_losses(self, batch: TransitionBatch, estimates: Estimates) -> tuple[dict[str, Tensor], Tensor]:
        """L_Q and L_V (B,) each, and the advantage (B,)."""
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
    """Train a policy further in this process (or in each process of a launcher); checkpoints go to ``output``.

    Args:
        backbone: the policy of stage 1, or of the round before.
        transitions: of whole episodes, in order, rewards as ``subtask_reward`` has them.
        validation: of other episodes, to measure on. What the critics say of them, and what
            they are worth, is written to ``value_estimates.jsonl`` and ``values.json``.
        config: of stage 2.
        collected: ids of the episodes that are not demonstrations.
        output: folder.
        seed: of data order, dropout and the critics' first weights.

    Raises :class:`~step_hrl.errors.DataError` where nothing is left to learn from, or a sample is too long.
    """
    sources = {False: config.data_weights.demonstration, True: config.data_weights.collected}

    def weight(transition: Transition) -> float:
        return sources[transition.episode_id in collected]

    kept = [t for t in transitions if weight(t) > 0 and getattr(config.role_weights, t.role.value) > 0]
    longest = min(config.max_tokens_per_sample, backbone.context)
    samples = _fitting(encode(kept, backbone.tokenizer, config, longest, weight), config)
    if not samples:
        raise DataError("offline_rl", "no transitions of a source and role that count", "raise one of the weights")
    measured = encode(validation, backbone.tokenizer, config, longest)
    critics = Critics(int(backbone.causal_model.config.hidden_size), n_critics=config.n_critics, seed=seed)
    objective = OfflineRL(backbone, critics, config)
    train(
        objective, samples, config, output=output, seed=seed, validation=_fitting(measured, config), label="offline RL"
    )
    if parallel.is_first():
        # Whole episodes pass the backbone one by one: as long as many an update.
        with ProgressBar(
            Console(stderr=True, quiet=not measured), "values", len(measured), unit="trajectories"
        ) as progress_bar:
            value_estimates = estimate_values(objective, progress_bar.each(measured))
        write_atomically(output / VALUE_ESTIMATES_FILE, to_lines(value_estimates))
        write_atomically(output / VALUES_FILE, json.dumps(rank_correlations(value_estimates), indent=1) + "\n")


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
    """Load a policy and train it further; see :func:`train_offline_rl`. Processes as in stage 1."""
    if config.processes > 1 and not parallel.launched():
        alone = (config, backbone_config, policy, transitions, validation, collected, output, seed)
        parallel.run_in_processes(config.processes, run, alone)
        return
    backbone = backbones.load(backbone_config.model_copy(update={"source": str(policy)}), seed=seed)
    train_offline_rl(backbone, transitions, validation, config, collected=collected, output=output, seed=seed)


def encode(
    transitions: Sequence[Transition],
    tokenizer: LineTokenizer,
    config: OfflineRLConfig,
    longest: int,
    weight: Callable[[Transition], float] = lambda _: 1.0,
) -> list[Trajectory]:
    """Transitions as trajectories of tokens, with discounts and weights."""

    def discount(transition: Transition) -> float:
        if transition.terminated or transition.next_state is None:
            return 0.0
        return config.gamma ** (transition.duration if config.discount == "step" else 1)

    return tokenize_trajectories(trajectories_of(transitions), tokenizer, longest, discount=discount, weight=weight)


def estimate_values(objective: OfflineRL, trajectories: Iterable[Trajectory]) -> list[ValueEstimate]:
    """What the critics say of each decision, and the discounted return that followed in its trajectory.

    What would have come after a cut at the action limit is not known and counts 0.
    """
    objective.eval()
    counts: Counter[tuple[str, str]] = Counter()
    found: list[ValueEstimate] = []
    for trajectory in trajectories:
        batch = collate([trajectory], objective.backbone.tokenizer.pad).to(objective.backbone.device)
        value, q = (cast("list[float]", cast(Any, part).tolist()) for part in objective.values(batch))
        key = (trajectory.episode_id, trajectory.transitions[0].role.value)
        for value_estimate in zip(value, q, returns(trajectory.transitions), strict=True):
            found.append(ValueEstimate(*key, counts[key], *value_estimate))
            counts[key] += 1
    return found


def returns(transitions: Sequence[TransitionTokens]) -> list[float]:
    """The discounted return from each transition on.

    >>> from step_hrl.types import Role
    >>> [round(value, 3) for value in returns([TransitionTokens(Role.LOW, (), (), 0.0, 0.5), ] * 2
    ...     + [TransitionTokens(Role.LOW, (), (), 1.0)])]
    [0.25, 0.5, 1.0]
    """
    following, found = 0.0, list[float]()
    for transition in reversed(transitions):
        following = transition.reward + transition.discount * following
        found.append(following)
    return found[::-1]


def _fitting(trajectories: Sequence[Trajectory], config: OfflineRLConfig) -> list[Trajectory]:
    """Trajectories cut to half a batch at most, so that a batch holds several situations."""
    return [piece for trajectory in trajectories for piece in pieces(trajectory, config.tokens_per_batch // 2)]


def _at(hidden: Tensor, places: Tensor) -> Tensor:
    """The hidden state at one place of each row (rows, width)."""
    return hidden[torch.arange(len(hidden), device=hidden.device), places]
