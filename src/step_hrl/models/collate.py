"""From transitions to tensors: encoding, batches of similar length, padding."""
# ruff: noqa: F722  (jaxtyping writes shapes as strings)

from __future__ import annotations

import random
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from step_hrl.errors import DataError
from step_hrl.models.tokenization import LineTokenizer
from step_hrl.types import Role, Transition

ROLES = tuple(Role)
"""Roles in the order of their index in ``TransitionBatch.role``."""


@dataclass(frozen=True, slots=True)
class TransitionTokens:
    """One transition as token ids: the rendered state, and the utterance with its line end."""

    role: Role
    state: Sequence[int]
    utterance: Sequence[int]

    def __len__(self) -> int:
        """Tokens of state and utterance together."""
        return len(self.state) + len(self.utterance)


@dataclass(frozen=True, slots=True)
class TransitionBatch:
    """Transitions of one batch, padded on the right.

    ``input_ids`` holds state and utterance; ``attention_mask`` is True on both, ``utterance_mask`` on the utterance
    with its line end. ``state_end`` and ``utterance_end`` index their last tokens (where V and Q are read). ``role``
    indexes :data:`ROLES`.
    """

    input_ids: Int[Tensor, "batch length"]
    attention_mask: Bool[Tensor, "batch length"]
    utterance_mask: Bool[Tensor, "batch length"]
    state_end: Int[Tensor, " batch"]
    utterance_end: Int[Tensor, " batch"]
    role: Int[Tensor, " batch"]

    def __len__(self) -> int:
        """Number of transitions."""
        return self.input_ids.shape[0]

    def to(self, device: torch.device) -> TransitionBatch:
        """The same batch on another device."""
        return TransitionBatch(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


def tokenize(transitions: Sequence[Transition], tokenizer: LineTokenizer, longest: int) -> list[TransitionTokens]:
    """Encode transitions, in order.

    Raises :class:`~step_hrl.errors.DataError` for one of more than ``longest`` tokens: none is ever cut.
    """
    states = tokenizer.encode_prompts([transition.state for transition in transitions])
    utterances = tokenizer.encode_utterances([transition.utterance for transition in transitions])
    encoded = [
        # Four bytes a token: millions of them are held at once.
        TransitionTokens(transition.role, array("i", state), array("i", utterance))
        for transition, state, utterance in zip(transitions, states, utterances, strict=True)
    ]
    for transition, tokens in zip(transitions, encoded, strict=True):
        if len(tokens) > longest:
            where = f"episode {transition.episode_id} ({transition.task}), {transition.role}"
            remedy = "raise max_tokens_per_sample (and the backbone's context), or shorten what prompts show"
            raise DataError(where, f"{len(tokens)} tokens where {longest} fit", remedy)
    return encoded


def collate(transitions: Sequence[TransitionTokens], pad: int) -> TransitionBatch:
    """Pad transitions into one batch.

    >>> one = TransitionTokens(Role.HIGH, (5, 6), (7, 2))
    >>> two = TransitionTokens(Role.LOW, (5,), (2,))
    >>> batch = collate([one, two], pad=2)
    >>> batch.input_ids.tolist(), batch.utterance_mask.int().tolist(), batch.state_end.tolist()
    ([[5, 6, 7, 2], [5, 2, 2, 2]], [[0, 0, 1, 1], [0, 1, 0, 0]], [1, 0])
    """
    length = max(len(transition) for transition in transitions)
    rows = [[*t.state, *t.utterance, *([pad] * (length - len(t)))] for t in transitions]
    states = torch.tensor([len(t.state) for t in transitions])
    ends = torch.tensor([len(t) for t in transitions])
    places = torch.arange(length)
    attention_mask = places < ends[:, None]
    return TransitionBatch(
        input_ids=torch.tensor(rows, dtype=torch.long),
        attention_mask=attention_mask,
        utterance_mask=attention_mask & (places >= states[:, None]),
        state_end=states - 1,
        utterance_end=ends - 1,
        role=torch.tensor([ROLES.index(t.role) for t in transitions]),
    )


def batches_of_similar_length(
    lengths: Sequence[int], tokens_per_batch: int, seed: int, epoch: int
) -> list[tuple[int, ...]]:
    """Group samples so that no batch holds more padded tokens than asked, in an order only (seed, epoch) decides.

    Every index occurs exactly once; a sample longer than the budget has a batch to itself. Lengths are jittered by a
    few tokens before sorting, so that the same samples do not always meet.

    >>> sorted(index for batch in batches_of_similar_length([3, 9, 3, 8], 18, 0, 0) for index in batch)
    [0, 1, 2, 3]
    """
    generator = random.Random(f"{seed}-{epoch}")
    order = sorted(range(len(lengths)), key=lambda index: lengths[index] * generator.uniform(1.0, 1.1))
    batches: list[tuple[int, ...]] = []
    batch: list[int] = []
    longest = 0
    for index in order:
        longest = max(longest, lengths[index])
        if batch and longest * (len(batch) + 1) > tokens_per_batch:
            batches.append(tuple(batch))
            batch, longest = [], lengths[index]
        batch.append(index)
    if batch:
        batches.append(tuple(batch))
    generator.shuffle(batches)
    return batches
