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
from step_hrl.models.collate import ROLES, TransitionBatch, samples_by_beginning, tokenize, words
from step_hrl.models.prefix_rows import ROW_TOKENS
from step_hrl.runs.files import written_whole
from step_hrl.runs.layout import POLICY_FOLDER
from step_hrl.training import parallel
from step_hrl.training.loop import Losses, Objective, train
from step_hrl.training.metrics import WeightedSum, by_role
from step_hrl.types import Transition


class BehaviorCloning(Objective):
    r"""Minimizes :math:`-\frac{1}{B} \sum_b w_{role(b)}\, \ell_b`, the weighted length-normalized log-likelihood.

    Source: the paper's stage 1; see :func:`~step_hrl.losses.utterance_log_likelihood` for :math:`\ell_b`.
    """

    weights: Tensor

    def __init__(self, backbone: Backbone, weights: RoleWeights) -> None:
        """Train a backbone, with the weight of each role."""
        super().__init__(backbone)
        values = torch.tensor([float(getattr(weights, role.value)) for role in ROLES])
        self.register_buffer("weights", values, persistent=False)

    def forward(self, batch: TransitionBatch) -> Losses:
        """Mean loss of a batch, and the unweighted loss of each role."""
        loss = -utterance_log_likelihood(self.backbone.score(batch).log_probs, batch.utterance_mask)
        total = (self.weights[batch.role] * loss).mean()
        return Losses(total, by_role("loss", loss.detach(), batch.role))

    def evaluate(self, batch: TransitionBatch) -> dict[str, WeightedSum]:
        """Loss and exact match by role: the share of utterances whose every token is the model's most likely one.

        ``copy`` is the exact match on the utterances with a word that no training utterance has: what a policy can only
        have read, not learned by heart.
        """
        scores = self.backbone.score(batch)
        loss = -utterance_log_likelihood(scores.log_probs, batch.utterance_mask)
        exact = (scores.correct | ~batch.utterance_mask).all(dim=1)
        return {
            **by_role("loss", loss, batch.role),
            **by_role("exact_match", exact.float(), batch.role),
            **by_role("copy", exact.float(), batch.role, batch.is_novel),
        }


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
    training, held_out = (
        [transition for transition in part if transition.clone_mask and transition.role in trained_roles]
        for part in (transitions, validation)
    )
    if not training:
        raise DataError("behavior_cloning", "no transitions of a trained role", "record demonstrations first")
    known = words(training)
    samples, validation_samples = (
        samples_by_beginning(
            tokenize(part, backbone.tokenizer, longest, known_words=known), min(ROW_TOKENS, config.tokens_per_batch)
        )
        for part in (training, held_out)
    )
    objective = BehaviorCloning(backbone, config.role_weights)
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
