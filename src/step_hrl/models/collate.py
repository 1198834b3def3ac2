"""Transitions to tensors: encoding, batches of similar length, padding."""
# ruff: noqa: F722  (jaxtyping writes shapes as strings)

from __future__ import annotations

import random
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from step_hrl.errors import DataError
from step_hrl.models.tokenization import LineTokenizer
from step_hrl.types import Role, Transition

ROLES = tuple(Role)
"""Roles in the order of their index in ``TransitionBatch.role``."""


@dataclass(frozen=True, slots=True)
class TransitionTokens:
    """One transition as token ids: the rendered state, and the utterance with its line end.

    ``discount`` multiplies the next state's value (0 at a terminal transition), ``weight`` the transition's loss;
    ``clone_mask`` is False where the utterance must not be cloned. Stage 1 reads none of these.
    """

    role: Role
    state: Sequence[int]
    utterance: Sequence[int]
    reward: float = 0.0
    discount: float = 0.0
    weight: float = 1.0
    clone_mask: bool = True

    def __len__(self) -> int:
        """Number of tokens of state and utterance together."""
        return len(self.state) + len(self.utterance)


@dataclass(frozen=True, slots=True)
class Trajectory:
    """Consecutive transitions of one role in one episode; a batch holds all of them or none.

    The next state of a transition is then the state of the row below it. ``after`` is the next state of the last
    transition, None where it is not needed; it takes a row of its own. In stage 1 a trajectory is one transition
    without ``after``.
    """

    transitions: tuple[TransitionTokens, ...]
    after: Sequence[int] | None = None
    episode_id: str = ""

    @property
    def rows(self) -> int:
        """Number of rows in a batch."""
        return len(self.transitions) + (self.after is not None)

    @property
    def longest(self) -> int:
        """Number of tokens of the longest row."""
        return max(*map(len, self.transitions), len(self.after or ()))

    @property
    def tokens(self) -> int:
        """Number of tokens of all rows, without padding."""
        return sum(map(len, self.transitions)) + len(self.after or ())


@dataclass(frozen=True, slots=True)
class TransitionBatch:
    """B transitions, padded on the right, followed by bare states: next states from which no transition starts.

    ``input_ids`` holds state and utterance; ``attention_mask`` is True on both, ``utterance_mask`` on the utterance
    with its line end (nowhere in a bare state). ``state_end`` and ``utterance_end`` index their last tokens (where V
    and Q are read), ``next_row`` the row whose state is s' (arbitrary where ``discount`` is 0). ``role`` indexes
    :data:`ROLES`.
    """

    input_ids: Int[Tensor, "rows length"]
    attention_mask: Bool[Tensor, "rows length"]
    utterance_mask: Bool[Tensor, "rows length"]
    state_end: Int[Tensor, " rows"]
    utterance_end: Int[Tensor, " batch"]
    role: Int[Tensor, " batch"]
    next_row: Int[Tensor, " batch"]
    reward: Float[Tensor, " batch"]
    discount: Float[Tensor, " batch"]
    weight: Float[Tensor, " batch"]
    clone_mask: Bool[Tensor, " batch"]

    def __len__(self) -> int:
        """Number of transitions."""
        return self.role.shape[0]

    def to(self, device: torch.device) -> TransitionBatch:
        """Copy the batch to a device."""
        return TransitionBatch(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


def tokenize(transitions: Sequence[Transition], tokenizer: LineTokenizer, longest: int) -> list[Trajectory]:
    """Encode each transition as a trajectory of its own, in order; see :func:`tokenize_trajectories`."""
    return tokenize_trajectories([[transition] for transition in transitions], tokenizer, longest)


def tokenize_trajectories(
    trajectories: Sequence[Sequence[Transition]],
    tokenizer: LineTokenizer,
    longest: int,
    *,
    discount: Callable[[Transition], float] = lambda _: 0.0,
    weight: Callable[[Transition], float] = lambda _: 1.0,
) -> list[Trajectory]:
    """Encode trajectories of consecutive transitions (see ``transitions.trajectories_of``), in order.

    Args:
        trajectories: None of them empty.
        tokenizer: The backbone's.
        longest: Maximum length of state and utterance together, in tokens.
        discount: Factor of the next state's value, per transition. Where it is 0, the next state is not encoded.
        weight: Factor of the loss, per transition.

    Raises :class:`~step_hrl.errors.DataError` for a transition of more than ``longest`` tokens; none is truncated.
    """
    flat = [transition for trajectory in trajectories for transition in trajectory]
    states = iter(tokenizer.encode_prompts([transition.state for transition in flat]))
    utterances = iter(tokenizer.encode_utterances([transition.utterance for transition in flat]))
    last_states = [_state_after(trajectory[-1], discount) for trajectory in trajectories]
    afters = iter(tokenizer.encode_prompts([state for state in last_states if state is not None]))
    encoded: list[Trajectory] = []
    for trajectory, last_state in zip(trajectories, last_states, strict=True):
        transitions: list[TransitionTokens] = []
        for transition in trajectory:
            # Four bytes a token: millions of tokens are in memory at once.
            state, utterance = array("i", next(states)), array("i", next(utterances))
            _check_length(transition, len(state) + len(utterance), longest)
            numbers = (transition.reward, discount(transition), weight(transition))
            transitions.append(TransitionTokens(transition.role, state, utterance, *numbers, transition.clone_mask))
        after = None if last_state is None else array("i", next(afters))
        if after is not None:
            _check_length(trajectory[-1], len(after), longest)
        encoded.append(Trajectory(tuple(transitions), after, trajectory[0].episode_id))
    return encoded


def split_trajectory(trajectory: Trajectory, tokens: int) -> list[Trajectory]:
    """Split a trajectory where its padded rows would exceed a number of tokens.

    Each part but the last gets the state of the next part's first transition as ``after``.

    >>> transition = TransitionTokens(Role.LOW, (5, 6), (2,), discount=0.9)
    >>> parts = split_trajectory(Trajectory((transition, transition, transition)), 9)
    >>> [(len(part.transitions), part.after) for part in parts]
    [(2, (5, 6)), (1, None)]
    """
    parts: list[Trajectory] = []
    transitions: list[TransitionTokens] = []
    for transition in trajectory.transitions:
        # One more row, for ``after``.
        if transitions and (len(transitions) + 2) * max(len(transition), *map(len, transitions)) > tokens:
            parts.append(Trajectory(tuple(transitions), transition.state, trajectory.episode_id))
            transitions = []
        transitions.append(transition)
    return [*parts, Trajectory(tuple(transitions), trajectory.after, trajectory.episode_id)]


def _state_after(transition: Transition, discount: Callable[[Transition], float]) -> str | None:
    return transition.next_state if discount(transition) else None


def _check_length(transition: Transition, tokens: int, longest: int) -> None:
    if tokens > longest:
        where = f"episode {transition.episode_id} ({transition.task}), {transition.role}"
        remedy = "raise max_tokens_per_sample (and the backbone's context), or shorten what prompts show"
        raise DataError(where, f"{tokens} tokens where {longest} fit", remedy)


def rounded(length: int, multiple: int) -> int:
    """Round a length up to a multiple.

    Lengths are padded to it so that few shapes occur: compiling a CPU kernel for a new shape takes longer than running
    it.

    >>> rounded(33, 16), rounded(32, 16)
    (48, 32)
    """
    return -(-length // multiple) * multiple


def collate(trajectories: Sequence[Trajectory], pad: int, multiple: int = 1) -> TransitionBatch:
    """Pad trajectories into one batch whose length is a multiple of ``multiple``; ``pad`` is the padding token's id.

    >>> one = TransitionTokens(Role.LOW, (5, 6), (7, 2), reward=1.0)
    >>> two = TransitionTokens(Role.LOW, (5,), (2,), discount=0.9)
    >>> batch = collate([Trajectory((two, one)), Trajectory((two,), after=(6, 8))], pad=2)
    >>> batch.input_ids.tolist(), batch.next_row.tolist(), batch.state_end.tolist()
    ([[5, 2, 2, 2], [5, 6, 7, 2], [5, 2, 2, 2], [6, 8, 2, 2]], [1, 1, 3], [0, 1, 0, 1])
    """
    transitions = [transition for trajectory in trajectories for transition in trajectory.transitions]
    bare = [trajectory.after for trajectory in trajectories if trajectory.after is not None]
    next_row: list[int] = []
    n_bare = 0
    for trajectory in trajectories:
        first = len(next_row)
        last = first + len(trajectory.transitions) - 1
        next_row += range(first + 1, last + 1)
        next_row.append(last if trajectory.after is None else len(transitions) + n_bare)
        n_bare += trajectory.after is not None
    length = rounded(max(trajectory.longest for trajectory in trajectories), multiple)
    rows = [[*t.state, *t.utterance, *([pad] * (length - len(t)))] for t in transitions]
    rows += [[*state, *([pad] * (length - len(state)))] for state in bare]
    states = torch.tensor([*(len(t.state) for t in transitions), *map(len, bare)])
    ends = torch.tensor([*map(len, transitions), *map(len, bare)])
    positions = torch.arange(length)
    attention_mask = positions < ends[:, None]
    return TransitionBatch(
        input_ids=torch.tensor(rows, dtype=torch.long),
        attention_mask=attention_mask,
        utterance_mask=attention_mask & (positions >= states[:, None]),
        state_end=states - 1,
        utterance_end=ends[: len(transitions)] - 1,
        role=torch.tensor([ROLES.index(t.role) for t in transitions]),
        next_row=torch.tensor(next_row),
        reward=torch.tensor([t.reward for t in transitions]),
        discount=torch.tensor([t.discount for t in transitions]),
        weight=torch.tensor([t.weight for t in transitions]),
        clone_mask=torch.tensor([t.clone_mask for t in transitions]),
    )


def batches_of_similar_length(
    sizes: Sequence[tuple[int, int]], tokens_per_batch: int, seed: int, epoch: int
) -> list[tuple[int, ...]]:
    """Group samples into batches of at most ``tokens_per_batch`` padded tokens, shuffled by (seed, epoch).

    A size is (rows, tokens of the longest row). Returns batches of sample indices, in which every index occurs exactly
    once; a sample above the limit has a batch of its own. Lengths are jittered by up to 10% before sorting, so that
    batches differ between epochs.

    >>> sizes = [(1, 3), (2, 9), (1, 3), (1, 8)]
    >>> sorted(index for batch in batches_of_similar_length(sizes, 18, 0, 0) for index in batch)
    [0, 1, 2, 3]
    """
    generator = random.Random(f"{seed}-{epoch}")
    order = sorted(range(len(sizes)), key=lambda index: sizes[index][1] * generator.uniform(1.0, 1.1))
    batches: list[tuple[int, ...]] = []
    batch: list[int] = []
    rows = longest = 0
    for index in order:
        longest = max(longest, sizes[index][1])
        if batch and longest * (rows + sizes[index][0]) > tokens_per_batch:
            batches.append(tuple(batch))
            batch, rows, longest = [], 0, sizes[index][1]
        batch.append(index)
        rows += sizes[index][0]
    if batch:
        batches.append(tuple(batch))
    generator.shuffle(batches)
    return batches
