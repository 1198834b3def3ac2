"""Shared beginnings are read once: losses and gradients of both stages are those of one row a sequence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.model_families import FAMILIES, SLIDING_WINDOW
from tests.tiny_model import tiny_backbone

from step_hrl.config import BackboneConfig, LoraConfig, OfflineRLConfig, RoleWeights
from step_hrl.models import backbone as backbones
from step_hrl.models import prefix_rows
from step_hrl.models.backbone import Backbone
from step_hrl.models.collate import ROLES, Sample, TransitionBatch, TransitionTokens, collate, samples_in_order, size_of
from step_hrl.models.critics import Critics
from step_hrl.prompts import high_level, local_progress, low_level
from step_hrl.training.behavior_cloning import BehaviorCloning
from step_hrl.training.loop import Losses, Objective
from step_hrl.training.offline_rl import OfflineRL, encode
from step_hrl.types import Observation, Role, Transition

RL = OfflineRLConfig(n_critics=2, critic_grad_scale=0.5)
LORA = LoraConfig(rank=4, alpha=8, dropout=0.0)
LOOK = "kitchen: jug, red box, lamp | Doors: hall open"


def seen(moment: int) -> Observation:
    return Observation(f"You take thing {moment}.", LOOK if moment < 3 else "garden: apple", "orange")


def decisions() -> list[Transition]:
    """A subtask of four steps in two places: the roles of one instant read the same, as do consecutive instants."""
    subtask = "go to the garden"
    high = [high_level.State("Boil water.", done, "None", seen(at)).prompt for done, at in (((), 0), (("go",), 4))]
    low = [low_level.State(subtask, f"{at} things", seen(at)).prompt for at in range(5)]
    progress = [local_progress.State(subtask, f"{at} things", "take", seen(at + 1)).prompt for at in range(4)]
    made = [decision(Role.HIGH, high, 0, subtask, 0.5, duration=4)]
    for at in range(4):
        made.append(decision(Role.LOW, low, at, f"take thing {at}; {at == 3}", 0.1 * at))
        made.append(decision(Role.PROGRESS, progress, at, f"{at + 1} things", -0.2))
    # A decision that occurs twice, one that ends the episode, and one that is not cloned.
    made += [made[1], replace(made[2], next_state=None, terminated=True), replace(made[3], clone_mask=False)]
    return made


def decision(role: Role, prompts: list[str], at: int, utterance: str, reward: float, duration: int = 1) -> Transition:
    following = prompts[at + 1] if at + 1 < len(prompts) else None
    return Transition(role, prompts[at], utterance, reward, following, following is None, duration, "e", "t")


def apart(sample: Sample, pad: int) -> TransitionBatch:
    """The same decisions with one row a sequence, padded on the right."""
    sequences = [sequence for each in sample for sequence in each.sequences]
    length = max(map(len, sequences))
    most = max(len(each.utterance) for each in sample)
    paths: list[list[int]] = []
    ends: list[int] = []
    row = 0
    for each in sample:
        path = range(row * length + len(each.state) - 1, row * length + len(each))
        paths.append([*path, *([path[-1]] * (most + 1 - len(path)))])
        row += 1
        ends.append(row * length + len(each.next_state) - 1 if each.next_state else 0)
        row += bool(each.next_state)
    return replace(
        collate([sample], pad),
        input_ids=torch.tensor([[*sequence, *([pad] * (length - len(sequence)))] for sequence in sequences]),
        position_ids=torch.arange(length).expand(len(sequences), length),
        subtree_end=torch.full((len(sequences), length), length),
        utterance_path=torch.tensor(paths),
        next_state_end=torch.tensor(ends),
    )


class Source:
    """A model to load several times, with adapters or without."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self, attention: str, lora: LoraConfig | None = None) -> Backbone:
        backbone = backbones.load(BackboneConfig(source=str(self.folder), lora=lora), device="cpu").eval()
        backbone.model.set_attn_implementation(attention)
        with torch.no_grad():
            draw = torch.Generator().manual_seed(1)
            for parameter in backbone.parameters() if lora else ():
                # New adapters change nothing and so have no gradient in part.
                if parameter.requires_grad:
                    parameter.add_(0.1 * torch.randn(parameter.shape, generator=draw))
        return backbone


@pytest.fixture(scope="module", params=["tiny", "mistral", "gemma-3"])
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Source:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "tiny":
        tiny_backbone().save(folder)
    else:
        [family] = (family for family in FAMILIES if family.name == request.param)
        family.save(folder)
    return Source(folder)


def sample_of(backbone: Backbone) -> Sample:
    weights = {"high": 2.0, "low": 1.0, "progress": 0.5}
    sample = tuple(encode(decisions(), backbone.tokenizer, RL, 256, lambda t: weights[t.role.value]))
    assert min(len(each.state) for each in sample) > SLIDING_WINDOW
    assert size_of(sample) < 0.5 * sum(len(sequence) for each in sample for sequence in each.sequences)
    return sample


def objective_of(stage: str, backbone: Backbone) -> Objective:
    if stage == "behavior_cloning":
        return BehaviorCloning(backbone, RoleWeights(high=2.0, low=1.0, progress=0.5))
    return OfflineRL(backbone, Critics(backbone.width, n_critics=RL.n_critics, seed=3), RL)


def gradients(objective: Objective, losses: Losses) -> dict[str, torch.Tensor]:
    objective.zero_grad()
    losses.total.backward()
    return {name: p.grad.clone() for name, p in objective.named_parameters() if p.grad is not None}


def plain_hidden_states(backbone: Backbone, batch: TransitionBatch) -> torch.Tensor:
    """The model's own masks and positions."""
    return backbone.decoder(input_ids=batch.input_ids, use_cache=False).last_hidden_state


def same(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("lora", [None, LORA], ids=["whole", "lora"])
@pytest.mark.parametrize("stage", ["behavior_cloning", "offline_rl"])
def test_losses_and_gradients_are_those_of_separate_rows(
    source: Source, stage: str, lora: LoraConfig | None, attention: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Several rows, so that some have padding and some beginnings are read again.
    monkeypatch.setattr(prefix_rows, "ROW_TOKENS", 160)
    backbone = source.load(attention, lora)
    objective, sample = objective_of(stage, backbone), sample_of(backbone)
    batch = collate([sample], backbone.tokenizer.pad, 16)
    assert 1 < len(batch.input_ids) < len(sample)
    losses = objective(batch)
    found = gradients(objective, losses)
    evaluated = objective.evaluate(batch)

    monkeypatch.setattr(Backbone, "hidden_states", plain_hidden_states)
    rows = apart(sample, backbone.tokenizer.pad)
    expected = objective(rows)
    same(losses.total, expected.total)
    assert losses.sums.keys() == expected.sums.keys()
    for name, (total, number) in expected.sums.items():
        same(losses.sums[name].total, total)
        assert losses.sums[name].number == number
    for name, (total, _) in objective.evaluate(rows).items():
        same(evaluated[name].total, total)
    expected_gradients = gradients(objective, expected)
    assert found.keys() == expected_gradients.keys()
    trained = {name for name, p in objective.named_parameters() if p.requires_grad}
    assert found.keys() == trained
    for name, gradient in expected_gradients.items():
        assert float(gradient.abs().max()) > 0 or "critics" in name
        same(found[name], gradient)


@torch.no_grad()
def test_values_are_those_of_separate_rows(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = source.load("eager")
    objective: Any = objective_of("offline_rl", backbone)
    sample = sample_of(backbone)
    # However the decisions are cut into samples and packed.
    batch = collate(samples_in_order(sample, 150), backbone.tokenizer.pad, 16)
    likelihood, estimates = objective._forward(batch)
    monkeypatch.setattr(Backbone, "hidden_states", plain_hidden_states)
    rows = apart(sample, backbone.tokenizer.pad)
    expected_likelihood, expected = objective._forward(rows)
    same(likelihood, expected_likelihood)
    for name in ("value", "q", "target_q"):
        same(getattr(estimates, name), getattr(expected, name))
    moving = rows.discount > 0
    assert moving.any()
    assert not moving.all()
    same(estimates.next_target_value[moving], expected.next_target_value[moving])
    assert expected.value.unique().numel() > len(ROLES)


@torch.no_grad()
def test_a_window_hides_what_is_far_on_the_path_and_not_in_the_row(source: Source) -> None:
    backbone = source.load("sdpa")
    shared = tuple(range(20, 40))
    ends = [TransitionTokens(Role.LOW, (*shared, 50 + number), (60 + number,)) for number in range(3)]
    batch = collate([tuple(ends)], backbone.tokenizer.pad)
    masks = backbone._attention_mask(batch)
    windowed = getattr(backbone.causal_model.config.get_text_config(), "sliding_window", None) is not None
    mask = masks["sliding_attention"] if isinstance(masks, dict) else masks
    for number in range(3):
        length = int(mask[0, 0, int(batch.utterance_end[number])].sum())
        assert length == (SLIDING_WINDOW if windowed else len(shared) + 2)


def test_gemma_2_masks_capped_logits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [family] = (family for family in FAMILIES if family.name == "gemma-2")
    backbone = Source(family.save(tmp_path)).load("eager")
    objective, sample = objective_of("behavior_cloning", backbone), sample_of(backbone)
    found = objective(collate([sample], backbone.tokenizer.pad, 16)).total
    monkeypatch.setattr(Backbone, "hidden_states", plain_hidden_states)
    same(found, objective(apart(sample, backbone.tokenizer.pad)).total)
