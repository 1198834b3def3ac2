"""Stage 2, transitions per second: one pass over prefix trees against the schedule of the public code.

    .venv/bin/python benchmarks/offline_rl_step.py [EPISODES_FILE]

The public code updates critic and policy separately. For the critic, one forward pass reads state and utterance, a
second one reads the next state, and a backward pass follows; for the policy, state and utterance are read again, with
another backward pass. These are three forward and two backward passes over random batches, padded to their longest
row, with logits for every token. Here the same losses need one forward and one backward pass. Both variants update the
same model with the same optimizer on the same transitions: batches of 16 transitions for the public schedule, and
batches of as many tokens as its padded rows of state and utterance have on average for ours. They alternate, so that
load on the machine affects both.
Peak memory is measured separately, each variant in a process of its own. Prints JSON.

Without a file, the transitions come from demonstrations of the pantry environment.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import resource
import sys
import time
from collections.abc import Callable, Sequence
from itertools import cycle, groupby
from pathlib import Path

import torch

from step_hrl.api import load_expert, play
from step_hrl.config import BackboneConfig, OfflineRLConfig, TinyConfig
from step_hrl.data.episode_files import read_episodes
from step_hrl.data.transitions import transitions
from step_hrl.envs.pantry import PantryWorld
from step_hrl.losses import (
    advantage_weight,
    expectile_regression,
    squared_error,
    td_target,
    utterance_log_likelihood,
)
from step_hrl.models import backbone as backbones
from step_hrl.models.collate import TransitionTokens, batches_of, collate, samples_in_order, size_of
from step_hrl.models.critics import Critics
from step_hrl.training.loop import LENGTH_MULTIPLE
from step_hrl.training.offline_rl import OfflineRL, encode
from step_hrl.types import Transition

BACKBONE = BackboneConfig(tiny=TinyConfig(width=192, layers=4, heads=3))
BATCH = 16
ROUNDS = 3
SECONDS = 10.0
"""How long each variant runs in a round."""
WARMUP = 30
"""Updates of each variant before time is measured."""
EPISODES = 60

Update = Callable[[], int]
"""Does one update of the weights and returns how many transitions it read."""


def main() -> None:
    """Measure and print."""
    if len(sys.argv) > 2:
        sys.exit("usage: offline_rl_step.py [EPISODES_FILE]")
    file = sys.argv[1] if len(sys.argv) == 2 else ""
    updates = {name: make(file) for name, make in VARIANTS.items()}
    for update in updates.values():
        for _ in range(WARMUP):  # kernels are compiled for each new shape
            update()
    read = dict.fromkeys(updates, 0)
    seconds = dict.fromkeys(updates, 0.0)
    for _ in range(ROUNDS):
        for name, update in updates.items():
            begun = time.perf_counter()
            while (spent := time.perf_counter() - begun) < SECONDS:
                read[name] += update()
            seconds[name] += spent
    rates = {name: read[name] / seconds[name] for name in updates}
    memory = {name: peak_memory(name, file) for name in updates}
    figures = {
        "episodes": file or f"pantry demonstrations ({EPISODES})",
        "threads": torch.get_num_threads(),
        "transitions_per_second": {name: round(rate, 1) for name, rate in rates.items()},
        "ratio": round(rates["ours"] / rates["public_schedule"], 2),
        "peak_megabytes": memory,
    }
    print(json.dumps(figures, indent=1))


def ours(file: str) -> Update:
    """One forward and one backward pass over prefix trees; most next states are the states of other transitions."""
    torch.manual_seed(0)
    loaded = load(file)
    objective = make_objective(loaded)
    pad = objective.backbone.tokenizer.pad
    encoded = encode(loaded, objective.backbone.tokenizer, objective.config, 2048)
    padded = [BATCH * max(map(len, batch)) for batch in batches(encoded)]
    tokens = sum(padded) // len(padded)
    episodes = groupby(encoded, key=lambda transition: transition.episode_id)
    samples = [sample for _, episode in episodes for sample in samples_in_order(episode, tokens // 2)]
    order = cycle(batches_of([*map(size_of, samples)], tokens, 0, 0))
    optimizer = torch.optim.AdamW([p for p in objective.parameters() if p.requires_grad], lr=1e-5, fused=True)

    def update() -> int:
        batch = collate([samples[index] for index in next(order)], pad, LENGTH_MULTIPLE)
        with objective.backbone.autocast("auto"):
            loss = objective(batch).total
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        objective.after_update()
        return len(batch)

    return update


def public_schedule(file: str) -> Update:
    """Three forward and two backward passes over random batches, each padded to its longest row."""
    torch.manual_seed(0)
    loaded = load(file)
    objective = make_objective(loaded)
    backbone, critics, config = objective.backbone, objective.critics, objective.config
    pad = backbone.tokenizer.pad
    order = cycle(batches(encode(loaded, backbone.tokenizer, config, 2048)))
    actor = torch.optim.AdamW([p for p in backbone.parameters() if p.requires_grad], lr=1e-5, fused=True)
    critic = torch.optim.AdamW([p for p in critics.parameters() if p.requires_grad], lr=1e-4, fused=True)

    def read(ids: torch.Tensor) -> torch.Tensor:
        return backbone.decoder(input_ids=ids, use_cache=False).last_hidden_state

    def update() -> int:
        chosen = next(order)
        about = collate([tuple(chosen)], pad)  # only its numbers are read
        following = [transition.next_state or transition.state for transition in chosen]
        now = padded_rows([transition.sequences[0] for transition in chosen], pad)
        rows = torch.arange(len(chosen))
        state_end = torch.tensor([len(transition.state) for transition in chosen]) - 1
        utterance_end = torch.tensor([len(transition) for transition in chosen]) - 1
        next_state_end = torch.tensor([len(state) for state in following]) - 1
        with backbone.autocast("auto"):
            # The critic: s and u in one pass, s' in another.
            hidden = read(now).float()
            with torch.no_grad():
                after = read(padded_rows(following, pad)).float()[rows, next_state_end]
            state, utterance = hidden[rows, state_end], hidden[rows, utterance_end]
            estimates = critics(state, utterance, utterance, after, about.role)
            target = td_target(about.reward, estimates.next_target_value, about.discount)
            value_loss = expectile_regression(estimates.value, estimates.target_q, config.expectile)
            (squared_error(estimates.q, target).sum(dim=0) + value_loss).mean().backward()
            critic.step()
            critic.zero_grad()
            actor.zero_grad()
            # The policy, with a pass of its own and the logits of all tokens.
            logits = backbone.logits(read(now))
            log_probs = logits[:, :-1].log_softmax(dim=-1).gather(2, now[:, 1:, None])[..., 0]
            index = torch.arange(log_probs.shape[1])
            mask = (index >= state_end[:, None]) & (index < utterance_end[:, None])
            weight = advantage_weight(estimates.target_q - estimates.value, config.awr_beta, config.awr_max_weight)
            (-weight * utterance_log_likelihood(log_probs, mask)).mean().backward()
        actor.step()
        actor.zero_grad()
        objective.after_update()
        return len(chosen)

    return update


VARIANTS: dict[str, Callable[[str], Update]] = {"ours": ours, "public_schedule": public_schedule}


def padded_rows(sequences: Sequence[Sequence[int]], pad: int) -> torch.Tensor:
    """One row a sequence, padded on the right to the longest."""
    length = max(map(len, sequences))
    return torch.tensor([[*sequence, *([pad] * (length - len(sequence)))] for sequence in sequences])


def batches(transitions: Sequence[TransitionTokens]) -> list[list[TransitionTokens]]:
    """Batches of ``BATCH`` transitions in random order; a few are left over."""
    order = random.Random(0).sample(transitions, len(transitions))
    return [order[start : start + BATCH] for start in range(0, len(order) - BATCH + 1, BATCH)]


def make_objective(loaded: Sequence[Transition]) -> OfflineRL:
    """The model that both variants train; the critics' gradient reaches the backbone, as in the public code."""
    texts = (text for t in loaded for text in (t.state, f" {t.utterance}\n"))
    backbone = backbones.load(BACKBONE, texts=texts, device="cpu").train()
    config = OfflineRLConfig(critic_grad_scale=1.0)
    return OfflineRL(backbone, Critics(BACKBONE.tiny.width), config)


def load(file: str) -> list[Transition]:
    if file:
        return [t for episode in read_episodes(Path(file)) for t in transitions(episode)]
    world = PantryWorld()
    tasks = world.tasks("train", None, EPISODES // 4)
    expert, env = load_expert("pantry", action_noise=0.1), world.open().env()
    return [t for task in tasks for t in transitions(play(expert, env, task, max_episode_steps=60))]


def peak_memory(name: str, file: str) -> int:
    """Peak resident memory (MB) of a process that does fifty updates of one variant."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measure, (name, file))


def _measure(name: str, file: str) -> int:
    update = VARIANTS[name](file)
    for _ in range(50):
        update()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
