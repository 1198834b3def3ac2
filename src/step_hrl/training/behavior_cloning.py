"""Stage 1: behavior cloning. One backbone imitates the demonstrations' utterances of all roles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from step_hrl.config import BackboneConfig, BehaviorCloningConfig, RoleWeights
from step_hrl.errors import DataError
from step_hrl.losses import utterance_log_likelihood
from step_hrl.models import backbone as backbones
from step_hrl.models.backbone import Backbone
from step_hrl.models.collate import ROLES, TransitionBatch, tokenize
from step_hrl.runs.files import written_whole
from step_hrl.runs.layout import POLICY_FOLDER
from step_hrl.training import parallel
from step_hrl.training.loop import Losses, Objective, train
from step_hrl.training.metrics import WeightedSum, by_role
from step_hrl.types import Transition


class BehaviorCloning(Objective):
    r"""Minimizes :math:`-\frac{1}{B} \sum_b w_{role(b)}\, \ell_b`, the weighted length-normalized log-likelihood.

    Source: the paper's stage 1; see :func:`~step_hrl.losses.utterance_log_likelihood` for :math:`\ell_b`. With
    ``prompt_loss_weight`` :math:`c`, :math:`c` times the same mean over the prompt's tokens is added to :math:`\ell_b`.
    """

    weights: Tensor

    def __init__(self, backbone: Backbone, weights: RoleWeights, prompt_loss_weight: float = 0.0) -> None:
        """Train a backbone, with the weight of each role and of the prompts."""
        super().__init__(backbone)
        self.prompt_loss_weight = prompt_loss_weight
        values = torch.tensor([float(getattr(weights, role.value)) for role in ROLES])
        self.register_buffer("weights", values, persistent=False)

    def forward(self, batch: TransitionBatch) -> Losses:
        """Mean loss of a batch, and the unweighted loss of each role."""
        tokens = batch.utterance_mask if self.prompt_loss_weight == 0 else _all_but_first(batch)
        log_probs = self.backbone.score(batch, tokens).log_probs
        loss = -utterance_log_likelihood(log_probs, batch.utterance_mask)
        likelihood = -loss
        if self.prompt_loss_weight > 0:
            likelihood = likelihood + self.prompt_loss_weight * utterance_log_likelihood(
                log_probs, tokens & ~batch.utterance_mask
            )
        total = -(self.weights[batch.role] * likelihood).mean()
        return Losses(total, by_role("loss", loss.detach(), batch.role))

    def evaluate(self, batch: TransitionBatch) -> dict[str, WeightedSum]:
        """Loss and exact match by role: the share of utterances whose every token is the model's most likely one."""
        scores = self.backbone.score(batch)
        loss = -utterance_log_likelihood(scores.log_probs, batch.utterance_mask)
        exact = (scores.correct | ~batch.utterance_mask).all(dim=1)
        return {**by_role("loss", loss, batch.role), **by_role("exact_match", exact.float(), batch.role)}


def train_behavior_cloning(
    backbone: Backbone,
    transitions: Sequence[Transition],
    validation: Sequence[Transition],
    config: BehaviorCloningConfig,
    *,
    output: Path,
    seed: int,
) -> Path:
    """Train a backbone in this process (or in each process of a launcher) and return the folder of its policy.

    Checkpoints and ``metrics.jsonl`` are written to ``output``, the policy to ``output/policy``: a folder that
    ``AutoModelForCausalLM.from_pretrained`` and ``AutoTokenizer.from_pretrained`` load. Roles of weight 0 are left out.

    Raises :class:`~step_hrl.errors.DataError` where no transition is left to train on, or a sample is too long.
    """
    trained_roles = {role for role in ROLES if getattr(config.role_weights, role.value) > 0}
    longest = min(config.max_tokens_per_sample, backbone.context)
    samples, validation_samples = (
        tokenize([t for t in part if t.clone_mask and t.role in trained_roles], backbone.tokenizer, longest)
        for part in (transitions, validation)
    )
    if not samples:
        raise DataError("behavior_cloning", "no transitions of a trained role", "record demonstrations first")
    objective = BehaviorCloning(backbone, config.role_weights, config.prompt_loss_weight)
    train(objective, samples, config, output=output, seed=seed, validation=validation_samples, label="behavior cloning")
    folder = output / POLICY_FOLDER
    if parallel.is_first():
        with written_whole(folder) as scratch:
            backbone.save(scratch)
    return folder


def run(
    config: BehaviorCloningConfig,
    backbone_config: BackboneConfig,
    transitions: Sequence[Transition],
    validation: Sequence[Transition],
    output: Path,
    seed: int,
) -> Path:
    """Create or load the backbone, clone the demonstrations, and return the folder of the policy.

    With ``config.processes`` above 1, as many processes on this machine share the batches, unless a launcher has
    already started several.
    """
    if config.processes > 1 and not parallel.launched():
        arguments = (config, backbone_config, transitions, validation, output, seed)
        parallel.run_in_processes(config.processes, run, arguments)
        return output / POLICY_FOLDER
    texts = (text for transition in transitions for text in (transition.state, f" {transition.utterance}\n"))
    backbone = backbones.load(backbone_config, texts=texts, seed=seed)
    return train_behavior_cloning(backbone, transitions, validation, config, output=output, seed=seed)


def _all_but_first(batch: TransitionBatch) -> Tensor:
    """Mask of all tokens but padding and the first of each row (B, L)."""
    tokens = batch.attention_mask.clone()
    tokens[:, 0] = False
    return tokens
