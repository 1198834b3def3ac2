"""Check training and acting on a GPU, or on any other machine, with files that it brings: no network, Java or world.

    python experiments/gpu_check.py MODEL DEMONSTRATIONS OUTPUT [--tokens N] [--episodes N]

MODEL is a model folder; weights that were cut into pieces to travel (``split -b 60M model.safetensors
model.safetensors.part-``) are joined first. DEMONSTRATIONS is a run's ``episodes.jsonl``. It prints one JSON object for
each check, and leaves the policy in OUTPUT:

1. the loss of prefix trees against that of one row a decision, in float32;
2. decisions a second of both, forward and backward;
3. stage 1 on N tokens: tokens a second, exact match and copy figures by role on held-out episodes;
4. decisions a second of the policy as an engine, all prompts of some episodes at once.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
from shared_prefixes import loss_of_rows, loss_of_trees, measure

from step_hrl.config import BackboneConfig, BehaviorCloningConfig, GenerationConfig, LoraConfig, RoleWeights
from step_hrl.data.episode_files import read_episodes
from step_hrl.data.transitions import deduplicate, transitions
from step_hrl.engines.transformers import TransformersEngine
from step_hrl.models import backbone as backbones
from step_hrl.models.collate import Sample, samples_by_beginning, tokenize
from step_hrl.training.behavior_cloning import train_behavior_cloning
from step_hrl.types import Ask, Episode

MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
LONGEST = 1024
HELD_OUT_EVERY = 25


def main() -> None:
    """Run all checks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("model", type=Path)
    parser.add_argument("demonstrations", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--tokens", type=int, default=1_000_000, help="tokens of stage 1")
    parser.add_argument("--tokens-per-batch", type=int, default=16384)
    parser.add_argument("--episodes", type=int, default=10**9, help="demonstrations to read")
    given = parser.parse_args()
    join(given.model)
    config = BackboneConfig(source=str(given.model), lora=LoraConfig(dropout=0.0, target_modules=MODULES))
    episodes = read_episodes(given.demonstrations)[: given.episodes]
    backbone = backbones.load(config)
    print_result("machine", device=str(backbone.device), torch=torch.__version__)
    held_out = episodes[::HELD_OUT_EVERY]
    training = [episode for number, episode in enumerate(episodes) if number % HELD_OUT_EVERY]
    check_losses(backbone, held_out)
    measure_training(backbone, training, given.tokens_per_batch)
    train(backbone, training, held_out, given)
    measure_acting(backbone, held_out)


def join(folder: Path) -> None:
    """Join weights that were cut into pieces."""
    whole, pieces = folder / "model.safetensors", sorted(folder.glob("model.safetensors.part-*"))
    if pieces and not whole.is_file():
        with whole.open("wb") as file:
            for piece in pieces:
                file.write(piece.read_bytes())


def check_losses(backbone: backbones.Backbone, episodes: list[Episode]) -> None:
    """Compare both losses on the same decisions."""
    tokens = tokenize([t for e in episodes[:4] for t in transitions(e)][:48], backbone.tokenizer, LONGEST)
    singly: list[Sample] = [(each,) for each in tokens]
    with torch.no_grad():
        trees, rows = (
            float(loss(backbone.eval(), samples))
            for loss, samples in ((loss_of_trees, samples_by_beginning(tokens)), (loss_of_rows, singly))
        )
    print_result("loss", trees=trees, rows=rows, difference=abs(trees - rows))


def measure_training(backbone: backbones.Backbone, episodes: list[Episode], tokens_per_batch: int) -> None:
    """Decisions and tokens a second, forward and backward."""
    found = deduplicate(t for episode in episodes[:400] for t in transitions(episode))
    tokens = tokenize(found, backbone.tokenizer, LONGEST)
    singly: list[Sample] = sorted(((each,) for each in tokens), key=lambda sample: len(sample[0]))
    ways = {"rows": (singly, loss_of_rows), "trees": (samples_by_beginning(tokens), loss_of_trees)}
    speeds = measure(backbone.train(), ways, tokens_per_batch)
    for name, (decisions, rate) in speeds.items():
        print_result(f"training, {name}", decisions_per_second=decisions, tokens_per_second=rate)


def train(
    backbone: backbones.Backbone, episodes: list[Episode], held_out: list[Episode], given: argparse.Namespace
) -> None:
    """Stage 1 with the GPU settings of the recipes."""
    config = BehaviorCloningConfig(
        tokens=given.tokens,
        tokens_per_batch=given.tokens_per_batch,
        learning_rate=1e-3,
        role_weights=RoleWeights(high=2),
        max_tokens_per_sample=LONGEST,
        trackers=(),
    )
    start = time.monotonic()
    chosen = deduplicate(t for episode in episodes for t in transitions(episode))
    validation = [t for episode in held_out for t in transitions(episode)]
    train_behavior_cloning(backbone, chosen, validation, config, output=given.output, seed=0)
    last = json.loads((given.output / "metrics.jsonl").read_text().splitlines()[-1])
    print_result("stage 1", seconds=time.monotonic() - start, tokens=given.tokens, **last)


def measure_acting(backbone: backbones.Backbone, episodes: list[Episode]) -> None:
    """Decisions a second of the engine."""
    found = [t for episode in episodes for t in transitions(episode)][:2000]
    asks = [Ask(t.role, Prompt(t.state)) for t in found]
    start = time.monotonic()
    answers = TransformersEngine(backbone, GenerationConfig(batch_size=256)).generate(asks)
    seconds = time.monotonic() - start
    same = sum(answer.text == t.utterance for answer, t in zip(answers, found, strict=True))
    print_result("acting", decisions_per_second=len(asks) / seconds, exact_match=same / len(asks))


class Prompt:
    """A state that has been rendered already."""

    def __init__(self, prompt: str) -> None:
        """Keep the text."""
        self.prompt = prompt


def print_result(check: str, **figures: float | str) -> None:
    """Print one line of JSON."""
    print(json.dumps({"check": check, **figures}), flush=True)


if __name__ == "__main__":
    main()
