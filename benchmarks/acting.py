"""Asks a second: what known prefixes, merged adapters, bfloat16 weights and integers each bring to acting on a CPU.

    .venv/bin/python benchmarks/acting.py [BACKBONE [EPISODES_FILE]]    # default: smollm2-135m, pantry

Replays the asks of demonstrations, 40 episodes interleaved: each episode asks for its next decision when the last one
is answered, whatever the answer is, so that every variant answers the same asks. A reply has as many tokens as the
demonstrated ones of its role have on average. The backbone gets new adapters of rank 16 in all linear layers. Variants
alternate, so that load on the machine affects all of them; processor time depends less on it. Without a file, the
episodes are pantry demonstrations; the environment takes no time in either case. Prints JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from step_hrl.api import load_expert, play
from step_hrl.config import BackboneConfig, GenerationConfig, LoraConfig, MaxNewTokens
from step_hrl.data.episode_files import read_episodes
from step_hrl.data.transitions import transitions
from step_hrl.engines.base import Answers
from step_hrl.engines.transformers import TransformersEngine
from step_hrl.envs.pantry import PantryWorld
from step_hrl.models import backbone as backbones
from step_hrl.models.backbone import Backbone
from step_hrl.types import Ask, Episode, Job, Role, Transition, Usage

NAMED = "smollm2-135m"
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
INTERLEAVED = 40
DECISIONS = 6
"""Decisions that each episode is replayed for in a round."""
ROUNDS = 2


@dataclass(frozen=True)
class Written:
    """A state that is its own prompt."""

    prompt: str


@dataclass
class Totals:
    """What one variant has answered so far."""

    asks: int = 0
    actions: int = 0
    seconds: float = 0.0
    processor_seconds: float = 0.0
    usage: Usage = field(default_factory=Usage)
    texts: list[str] = field(default_factory=list)


class Unmerged:
    """A backbone that acts with its own modules: adapters beside the weights, which autocast casts again and again."""

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone
        self.name, self.context, self.tokenizer = backbone.name, backbone.context, backbone.tokenizer
        self.decoder = Autocast(backbone.decoder, backbone)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backbone, name)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits of the next token."""
        with self._backbone.autocast("auto"):
            return self._backbone.logits(hidden)

    @contextmanager
    def acting(self, choice: Any, quantize: Any) -> Generator[Unmerged]:
        """A context for generation with the backbone itself."""
        attention = self._backbone.causal_model.config._attn_implementation
        self._backbone.eval().model.set_attn_implementation("sdpa")
        with torch.no_grad():
            yield self
        self._backbone.model.set_attn_implementation(attention)


class Autocast:
    """A decoder whose calls are cast, in whichever thread they are made."""

    def __init__(self, decoder: Any, backbone: Backbone) -> None:
        self._decoder, self._backbone = decoder, backbone

    def __getattr__(self, name: str) -> Any:
        return getattr(self._decoder, name)

    def __call__(self, **inputs: Any) -> Any:
        with self._backbone.autocast("auto"):
            return self._decoder(**inputs)


def main() -> None:
    """Measure and print."""
    if len(sys.argv) > 3:
        sys.exit("usage: acting.py [BACKBONE [EPISODES_FILE]]")
    source, file = (*sys.argv[1:], *(NAMED, "")[len(sys.argv) - 1 :])
    backbone = backbones.load(BackboneConfig(source=source, lora=LoraConfig(target_modules=TARGETS)), device="cpu")
    scripts = [script for script in map(transitions, load(file)) if len(script) >= DECISIONS][: INTERLEAVED * ROUNDS]
    limits = reply_tokens(backbone, [decision for script in scripts for decision in script])
    backbone.tokenizer.stops = frozenset()  # every reply has the length of its role
    cores = torch.get_num_threads()
    variants: dict[str, Callable[[], tuple[TransformersEngine, bool]]] = {
        "before": lambda: (engine(Unmerged(backbone), limits), False),
        "merged": lambda: (engine(backbone, limits), False),
        "merged_prefixes": lambda: (engine(backbone, limits), True),
        "merged_prefixes_int8": lambda: (engine(backbone, limits, quantize="int8"), True),
        "merged_prefixes_all_cores": lambda: (engine(backbone, limits), True),
        "merged_prefixes_int8_all_cores": lambda: (engine(backbone, limits, quantize="int8"), True),
    }
    totals = {name: Totals() for name in variants}
    for number in range(ROUNDS):
        chosen = [script[:DECISIONS] for script in scripts[number::ROUNDS]]
        for name, make in variants.items():
            answering, reuse = make()
            torch.set_num_threads(cores if name.endswith("all_cores") else 1)
            replay(answering, chosen, totals[name], reuse=reuse)
    rates = {name: total.actions / total.seconds for name, total in totals.items()}
    figures = {
        "backbone": source,
        "episodes": file or "pantry demonstrations",
        "cores": cores,
        "prompt_tokens": totals["before"].usage.prompt_tokens,
        "cached_tokens": totals["merged_prefixes"].usage.cached_tokens,
        "actions_per_second": {name: round(rate, 2) for name, rate in rates.items()},
        "asks_per_second": {name: round(total.asks / total.seconds, 2) for name, total in totals.items()},
        "ratios": {name: round(rate / rates["before"], 2) for name, rate in rates.items()},
        "processor_seconds_per_action": {
            name: round(total.processor_seconds / total.actions, 3) for name, total in totals.items()
        },
        "same_answers": {name: round(agreement(totals["before"], total), 3) for name, total in totals.items()},
    }
    print(json.dumps(figures, indent=1))


def engine(model: Any, limits: MaxNewTokens, **settings: Any) -> TransformersEngine:
    """A greedy engine."""
    return TransformersEngine(model, GenerationConfig(max_new_tokens=limits, **settings))


def reply_tokens(backbone: Backbone, decisions: Sequence[Transition]) -> MaxNewTokens:
    """Mean number of tokens of each role's demonstrated utterances."""
    lengths: dict[str, list[int]] = {role.value: [] for role in Role}
    tokens = backbone.tokenizer.encode_utterances([decision.utterance for decision in decisions])
    for decision, utterance in zip(decisions, tokens, strict=True):
        lengths[decision.role.value].append(len(utterance))
    return MaxNewTokens(**{role: round(mean(counts)) for role, counts in lengths.items() if counts})


def replay(engine: TransformersEngine, scripts: Sequence[Sequence[Transition]], totals: Totals, *, reuse: bool) -> None:
    """Ask for every decision, that of each episode after the one before is answered.

    Without ``reuse``, asks belong to no episode, so that no prefix is known.
    """
    left: list[deque[Ask]] = []
    for index, script in enumerate(scripts):
        job = Job(replace(PantryWorld().tasks("train", None, 1)[0], variation=index)) if reuse else None
        asks = (Ask(t.role, Written(t.state), job=job, number=n) for n, t in enumerate(script, 1))
        left.append(deque(asks))
    asker: list[int] = []
    texts: dict[tuple[int, int], str] = {}

    def exchange(finished: Answers) -> list[Ask]:
        for number, utterance in finished:
            assert utterance is not None, "a model answers every ask"
            texts[asker[number], len(left[asker[number]])] = utterance.text
            totals.usage += utterance.usage
        ready = range(len(left)) if not asker else [asker[number] for number, _ in finished]
        asking = [index for index in ready if left[index]]
        asker.extend(asking)
        return [left[index].popleft() for index in asking]

    begun, processor_begun = time.perf_counter(), time.process_time()
    engine.serve(exchange)
    totals.seconds += time.perf_counter() - begun
    totals.processor_seconds += time.process_time() - processor_begun
    totals.asks += len(asker)
    totals.actions += sum(decision.role is Role.LOW for script in scripts for decision in script)
    totals.texts += [texts[key] for key in sorted(texts)]


def agreement(one: Totals, other: Totals) -> float:
    """The share of asks that two variants answer with the same text."""
    return mean(a == b for a, b in zip(one.texts, other.texts, strict=True))


def load(file: str) -> list[Episode]:
    if file:
        return list(read_episodes(Path(file)))
    world = PantryWorld()
    expert, env = load_expert("pantry", action_noise=0.1), world.open().env()
    tasks = world.tasks("train", None, INTERLEAVED)
    return [play(expert, env, task, max_episode_steps=60) for task in tasks]


if __name__ == "__main__":
    main()
