"""Synthetic transitions and a model with a few thousand weights, for tests of models, engines and training."""

from __future__ import annotations

import random
from pathlib import Path

import torch

from step_hrl.config import BackboneConfig, TinyConfig
from step_hrl.models import backbone
from step_hrl.models.backbone import Backbone
from step_hrl.types import Role, Transition

TINY_CONFIG = BackboneConfig(tiny=TinyConfig(width=32, layers=2, heads=2, vocabulary=320, context=128))
ROOMS = ("kitchen", "hall", "garden", "workshop", "cellar")
THINGS = ("lamp", "apple", "red box", "thermometer")


def transitions(number: int = 48, seed: int = 0) -> list[Transition]:
    """Decisions of all three roles, with prompts of various lengths."""
    draw = random.Random(seed)
    made: list[Transition] = []
    for index in range(number):
        role = tuple(Role)[index % 3]
        room, thing = draw.choice(ROOMS), draw.choice(THINGS)
        look = ", ".join(draw.choices(THINGS, k=draw.randint(1, 6)))
        state = f"Say the {role}.\nSubtask: take the {thing} to the {room}\nLook: {look}\nAnswer:"
        utterance = {
            Role.HIGH: f"go to the {room}",
            Role.LOW: f"take {thing}; True",
            Role.PROGRESS: f"Holding the {thing}.",
        }
        made.append(Transition(role, state, utterance[role], 0.0, None, False, 1, f"episode-{index // 6}", "carry:0"))
    return made


def tiny_backbone(config: BackboneConfig = TINY_CONFIG, seed: int = 0) -> Backbone:
    """An untrained tiny model on the CPU, with a tokenizer trained on the synthetic transitions."""
    texts = [text for t in transitions() for text in (t.state, f" {t.utterance}\n")]
    return backbone.load(config, texts=texts, seed=seed, device="cpu")


def chat_model(folder: Path) -> Path:
    """Save a tiny model with a chat template in a folder, and return the folder."""
    model = tiny_backbone()
    model.tokenizer.hf.chat_template = "{% for message in messages %}{{ message.content }}\n{% endfor %}"
    model.model.save_pretrained(str(folder))
    model.tokenizer.hf.save_pretrained(str(folder))
    return folder


def weights(module: torch.nn.Module) -> torch.Tensor:
    """All weights as one vector."""
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])
