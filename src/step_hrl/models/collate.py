"""Transitions to tensors: encoding, samples that share beginnings, batches."""
# ruff: noqa: F722  (jaxtyping writes shapes as strings)

from __future__ import annotations

import random
import string
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from step_hrl.errors import DataError
from step_hrl.models.prefix_rows import ROW_TOKENS, PrefixTree, common_prefix, pack_evenly, tokens_read
from step_hrl.models.tokenization import LineTokenizer
from step_hrl.types import Role, Transition

ROLES = tuple(Role)
"""Roles in the order of their index in ``TransitionBatch.role``."""


@dataclass(frozen=True, slots=True)
class TransitionTokens:
    """One transition as token ids: the rendered state, and the utterance with its line end.

    ``discount`` multiplies the next state's value (0 at a terminal transition, whose ``next_state`` is empty),
    ``weight`` the transition's loss; ``clone_mask`` is False where the utterance must not be cloned. Stage 1 reads none
    of these. ``is_novel`` is True where the utterance has a word that no training utterance has.
    """

    role: Role
    state: Sequence[int]
    utterance: Sequence[int]
    next_state: Sequence[int] = ()
    reward: float = 0.0
    discount: float = 0.0
    weight: float = 1.0
    clone_mask: bool = True
    is_novel: bool = False
    episode_id: str = ""

    def __len__(self) -> int:
        """Number of tokens of state and utterance together."""
        return len(self.state) + len(self.utterance)

    @property
    def sequences(self) -> list[tuple[int, ...]]:
        """What a model reads of the transition: state and utterance, and the next state where its value matters."""
        return [(*self.state, *self.utterance), *([tuple(self.next_state)] if self.next_state else [])]


OPEN_BATCHES = 32
"""Number of batches that are filled at once."""

Sample = tuple[TransitionTokens, ...]
"""Transitions that a batch holds all or none of, because they share beginnings."""


@dataclass(frozen=True, slots=True)
class TransitionBatch:
    """B transitions with utterances of at most U tokens, in rows of prefix trees (see :mod:`~.prefix_rows`).

    ``input_ids``, ``position_ids`` and ``subtree_end`` describe the rows. All other fields locate transitions in them
    by indices into the flattened rows: ``utterance_path`` holds the last token of the state and then the tokens of the
    utterance, those inside ``utterance_mask``; ``next_state_end`` the last token of s' (arbitrary where ``discount`` is
    0). ``role`` indexes :data:`ROLES`.
    """

    input_ids: Int[Tensor, "rows length"]
    position_ids: Int[Tensor, "rows length"]
    subtree_end: Int[Tensor, "rows length"]
    utterance_path: Int[Tensor, "batch longest_and_1"]
    utterance_mask: Bool[Tensor, "batch longest"]
    next_state_end: Int[Tensor, " batch"]
    role: Int[Tensor, " batch"]
    reward: Float[Tensor, " batch"]
    discount: Float[Tensor, " batch"]
    weight: Float[Tensor, " batch"]
    clone_mask: Bool[Tensor, " batch"]
    is_novel: Bool[Tensor, " batch"]

    def __len__(self) -> int:
        """Number of transitions."""
        return self.role.shape[0]

    def to(self, device: torch.device) -> TransitionBatch:
        """Copy the batch to a device."""
        return TransitionBatch(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})

    @property
    def state_end(self) -> Int[Tensor, " batch"]:
        """The last token of s, where V is read."""
        return self.utterance_path[:, 0]

    @property
    def utterance_end(self) -> Int[Tensor, " batch"]:
        """The last token of u, where Q is read."""
        return self.utterance_path.gather(1, self.utterance_mask.sum(dim=1, keepdim=True))[:, 0]

    @property
    def attention_mask(self) -> Bool[Tensor, "rows 1 length length"]:
        """Whether a token (third dimension) attends to another (fourth): to itself and those on the path to it."""
        index = torch.arange(self.input_ids.shape[1], device=self.input_ids.device)
        after = index[:, None] >= index
        return (after & (index[:, None] < self.subtree_end[:, None, :]))[:, None]


def tokenize(
    transitions: Sequence[Transition],
    tokenizer: LineTokenizer,
    longest: int,
    *,
    discount: Callable[[Transition], float] = lambda _: 0.0,
    weight: Callable[[Transition], float] = lambda _: 1.0,
    known_words: frozenset[str] | None = None,
) -> list[TransitionTokens]:
    """Encode transitions, in order.

    Args:
        transitions: Of any episodes and roles.
        tokenizer: The backbone's.
        longest: Maximum length of state and utterance together, in tokens.
        discount: Factor of the next state's value, per transition. Where it is 0, the next state is not encoded.
        weight: Factor of the loss, per transition.
        known_words: The words of all training utterances, which decide what is novel; None where it does not matter.

    Raises :class:`~step_hrl.errors.DataError` for a transition of more than ``longest`` tokens; none is truncated.
    """
    discounts = [discount(transition) for transition in transitions]
    following = [t.next_state or "" if factor else "" for t, factor in zip(transitions, discounts, strict=True)]
    columns = (
        tokenizer.encode_prompts([transition.state for transition in transitions]),
        tokenizer.encode_utterances([transition.utterance for transition in transitions]),
        tokenizer.encode_prompts(following),
    )
    encoded: list[TransitionTokens] = []
    for transition, factor, *ids in zip(transitions, discounts, *columns, strict=True):
        # Four bytes a token: millions of tokens are in memory at once.
        state, utterance, next_state = (array("i", each) for each in ids)
        _check_length(transition, max(len(state) + len(utterance), len(next_state)), longest)
        encoded.append(
            TransitionTokens(
                transition.role,
                state,
                utterance,
                next_state if factor else (),
                transition.reward,
                factor,
                weight(transition),
                transition.clone_mask,
                known_words is not None and not known_words >= words([transition]),
                transition.episode_id,
            )
        )
    return encoded


def words(transitions: Iterable[Transition]) -> frozenset[str]:
    """All words of the utterances of transitions, without punctuation around them."""
    return frozenset(
        word.strip(string.punctuation) for transition in transitions for word in transition.utterance.split()
    )


def samples_by_beginning(transitions: Sequence[TransitionTokens], tokens: int = ROW_TOKENS) -> list[Sample]:
    """Group transitions whose tokens begin alike, each once, in samples that read at most ``tokens`` tokens.

    Nor have a sample's utterances more tokens than that together, which bounds how often it holds the same decision. A
    longer transition is a sample of its own.

    >>> one, two, other = (TransitionTokens(Role.LOW, state, (2,)) for state in ((5, 6, 7), (5, 6, 8), (9,)))
    >>> [len(sample) for sample in samples_by_beginning([one, other, two])]
    [2, 1]
    """
    groups: list[list[TransitionTokens]] = []
    previous: tuple[int, ...] = ()
    size = uttered = 0
    for transition in sorted(transitions, key=lambda each: each.sequences[0]):
        sequence = transition.sequences[0]
        shared = common_prefix(previous, sequence)
        size += len(sequence) - shared
        uttered += len(transition.utterance)
        if not groups or max(size, uttered) > tokens or 2 * shared < len(sequence):
            groups.append([])
            size, uttered = len(sequence), len(transition.utterance)
        groups[-1].append(transition)
        previous = sequence
    return [tuple(group) for group in groups]


def samples_in_order(transitions: Iterable[TransitionTokens], tokens: int) -> list[Sample]:
    """Cut transitions in the order of an episode into samples that read at most ``tokens`` tokens, one at least.

    >>> step = TransitionTokens(Role.LOW, (5, 6), (2,))
    >>> [len(sample) for sample in samples_in_order([step, step, TransitionTokens(Role.LOW, (7, 8), (2,))], 3)]
    [2, 1]
    """
    samples: list[Sample] = []
    sample: Sample = ()
    read = PrefixTree()
    for transition in transitions:
        for sequence in transition.sequences:
            read.add(sequence)
        if sample and read.tokens > tokens:
            samples.append(sample)
            sample = ()
            read = PrefixTree(transition.sequences)
        sample = (*sample, transition)
    return [*samples, sample] if sample else samples


def size_of(sample: Sample) -> int:
    """Number of tokens that a model reads of a sample; those of a common beginning count once."""
    return tokens_read([sequence for transition in sample for sequence in transition.sequences])


def _check_length(transition: Transition, tokens: int, longest: int) -> None:
    if tokens > longest:
        where = f"episode {transition.episode_id} ({transition.task}), {transition.role}"
        remedy = "raise max_tokens_per_sample (and the backbone's context), or shorten what prompts show"
        raise DataError(where, f"{tokens} tokens where {longest} fit", remedy)


def collate(samples: Sequence[Sample], pad: int, multiple: int = 1) -> TransitionBatch:
    """Pack samples into one batch whose length is a multiple of ``multiple``; ``pad`` is the padding token's id.

    >>> one = TransitionTokens(Role.LOW, (5, 6), (7, 2), reward=1.0)
    >>> two = TransitionTokens(Role.LOW, (5,), (2,), next_state=(5, 6), discount=0.9)
    >>> batch = collate([(two, one)], pad=0)
    >>> batch.input_ids.tolist(), batch.utterance_path.tolist(), batch.utterance_mask.tolist()
    ([[5, 2, 6, 7, 2]], [[0, 1, 1], [2, 3, 4]], [[True, False], [True, True]])
    >>> batch.state_end.tolist(), batch.utterance_end.tolist(), batch.next_state_end.tolist()
    ([0, 2], [1, 4], [2, 0])
    """
    transitions = [transition for sample in samples for transition in sample]
    sequences = list(dict.fromkeys(sequence for each in transitions for sequence in each.sequences))
    rows, places, length = pack_evenly(sequences, multiple)
    place_of = dict(zip(sequences, places, strict=True))
    most = max(len(transition.utterance) for transition in transitions)
    paths: list[list[int]] = []
    ends: list[int] = []
    for transition in transitions:
        both, *following = (place_of[sequence] for sequence in transition.sequences)
        path = [both.row * length + index for index in both.path[len(transition.state) - 1 :]]
        paths.append(path + [path[-1]] * (most + 1 - len(path)))
        ends.append(following[0].row * length + following[0].path[-1] if following else 0)
    lengths = torch.tensor([len(transition.utterance) for transition in transitions])
    unused = [range(len(row.tokens), length) for row in rows]
    return TransitionBatch(
        input_ids=torch.tensor([[*row.tokens, *(pad for _ in rest)] for row, rest in zip(rows, unused, strict=True)]),
        position_ids=torch.tensor(
            [[*row.positions, *(0 for _ in rest)] for row, rest in zip(rows, unused, strict=True)]
        ),
        # Padding attends to itself only.
        subtree_end=torch.tensor(
            [[*row.subtree_end, *(index + 1 for index in rest)] for row, rest in zip(rows, unused, strict=True)]
        ),
        utterance_path=torch.tensor(paths),
        utterance_mask=torch.arange(most) < lengths[:, None],
        next_state_end=torch.tensor(ends),
        role=torch.tensor([ROLES.index(t.role) for t in transitions]),
        reward=torch.tensor([t.reward for t in transitions]),
        discount=torch.tensor([t.discount for t in transitions]),
        weight=torch.tensor([t.weight for t in transitions]),
        clone_mask=torch.tensor([t.clone_mask for t in transitions]),
        is_novel=torch.tensor([t.is_novel for t in transitions]),
    )


def batches_of(sizes: Sequence[int], tokens_per_batch: int, seed: int, epoch: int) -> list[tuple[int, ...]]:
    """Group samples of these sizes into batches of at most ``tokens_per_batch``, shuffled by (seed, epoch).

    Returns batches of sample indices, in which every index occurs exactly once; a sample above the limit has a batch of
    its own.

    >>> sorted(index for batch in batches_of([3, 9, 3, 8], 12, 0, 0) for index in batch)
    [0, 1, 2, 3]
    """
    generator = random.Random(f"{seed}-{epoch}")
    order = list(range(len(sizes)))
    generator.shuffle(order)
    batches: list[list[int]] = []
    room: list[int] = []
    for index in order:
        # The first batch with room, among the latest: bins so filled waste little, and the order stays random.
        first = max(0, len(batches) - OPEN_BATCHES)
        chosen = next((number for number in range(first, len(batches)) if room[number] >= sizes[index]), len(batches))
        if chosen == len(batches):
            batches.append([])
            room.append(tokens_per_batch)
        batches[chosen].append(index)
        room[chosen] -= sizes[index]
    generator.shuffle(batches)
    return [tuple(batch) for batch in batches]
