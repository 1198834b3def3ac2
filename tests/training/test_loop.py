from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tests.tiny_model import tiny_backbone, transitions, weights

from step_hrl.config import BehaviorCloningConfig, RoleWeights, TrainingConfig
from step_hrl.errors import DataError, ModelError
from step_hrl.models.backbone import Backbone
from step_hrl.models.collate import Sample, TransitionBatch, TransitionTokens, tokenize
from step_hrl.training import checkpoints, loop
from step_hrl.training.behavior_cloning import BehaviorCloning
from step_hrl.training.loop import BatchPlan, Losses, train
from step_hrl.types import Role

QUICK = BehaviorCloningConfig(
    epochs=2.0,
    learning_rate=0.01,
    tokens_per_batch=400,
    checkpoint_every=4,
    log_every=1,
    keep_checkpoints=10,
    mixed_precision="no",
)


class Interrupted(Exception):
    pass


class StopsAt(BehaviorCloning):
    """Raises in the middle of an update, as if the process had been killed."""

    def __init__(self, backbone: Backbone, call: int) -> None:
        super().__init__(backbone, RoleWeights())
        self.calls_left = call

    def forward(self, batch: TransitionBatch) -> Losses:
        self.calls_left -= 1
        if self.calls_left < 0:
            raise Interrupted
        return super().forward(batch)


def trained(output: Path, config: TrainingConfig = QUICK, backbone: Backbone | None = None, seed: int = 0) -> Backbone:
    backbone = backbone or tiny_backbone()
    samples = samples_of(backbone)
    train(BehaviorCloning(backbone, RoleWeights()), samples, config, output=output, seed=seed)
    return backbone


def samples_of(backbone: Backbone, number: int = 48) -> list[Sample]:
    """Decisions one by one, so that there are many samples."""
    return [(each,) for each in tokenize(transitions(number), backbone.tokenizer, 128)]


def of_lengths(lengths: list[int]) -> list[Sample]:
    return [(TransitionTokens(Role.LOW, range(length - 1), (2,)),) for length in lengths]


def lines(output: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


def changed(**fields: object) -> BehaviorCloningConfig:
    return BehaviorCloningConfig.model_validate({**QUICK.model_dump(), **fields})


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_resumed_run_ends_with_bitwise_identical_weights(tmp_path: Path, optimizer: str) -> None:
    config = changed(optimizer={"type": optimizer}, gradient_accumulation=2, epochs=6.0)
    whole = trained(tmp_path / "whole", config)
    backbone = tiny_backbone()
    samples = samples_of(backbone)
    with pytest.raises(Interrupted):
        train(StopsAt(backbone, 11), samples, config, output=tmp_path / "cut", seed=0)
    newest = checkpoints.latest(tmp_path / "cut")
    assert newest is not None
    assert newest.name == "checkpoint-4"
    with (tmp_path / "cut" / "metrics.jsonl").open("a") as file:
        file.write('{"update": 5, "los')
    resumed = trained(tmp_path / "cut", config)
    assert torch.equal(weights(resumed), weights(whole))
    assert not torch.equal(weights(whole), weights(tiny_backbone()))
    logs = [lines(tmp_path / name) for name in ("whole", "cut")]
    for line in (*logs[0], *logs[1]):
        line.pop("tokens_per_second")
    assert logs[0] == logs[1]


def test_dropout_of_a_resumed_run_is_the_same(tmp_path: Path) -> None:
    def with_dropout() -> Backbone:
        backbone = tiny_backbone()
        for layer in backbone.model.model.layers:
            layer.mlp.act_fn = torch.nn.Sequential(torch.nn.SiLU(), torch.nn.Dropout(0.5))
        return backbone

    whole = trained(tmp_path / "whole", backbone=with_dropout())
    plain = trained(tmp_path / "plain")
    assert not torch.equal(weights(whole), weights(plain))
    cut = with_dropout()
    samples = samples_of(cut)
    with pytest.raises(Interrupted):
        train(StopsAt(cut, 6), samples, QUICK, output=tmp_path / "cut", seed=0)
    torch.rand(3)
    assert torch.equal(weights(trained(tmp_path / "cut", backbone=with_dropout())), weights(whole))


def test_a_finished_run_is_not_repeated(tmp_path: Path) -> None:
    first = trained(tmp_path)
    written = (tmp_path / "metrics.jsonl").read_text()
    again = trained(tmp_path)
    assert torch.equal(weights(first), weights(again))
    assert (tmp_path / "metrics.jsonl").read_text() == written


@pytest.mark.parametrize("difference", [{"learning_rate": 0.02}, {"epochs": 3.0}, {"role_weights": {"low": 2.0}}])
def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path, difference: dict[str, object]) -> None:
    trained(tmp_path)
    with pytest.raises(DataError, match="other settings"):
        trained(tmp_path, changed(**difference))
    with pytest.raises(DataError, match="other settings"):
        trained(tmp_path, seed=1)


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    trained(tmp_path)
    newest = checkpoints.latest(tmp_path)
    assert newest is not None
    (newest / "optimizers.pt").write_bytes(b"nonsense")
    with pytest.raises(DataError, match=r"checkpoint-\d+: damaged"):
        trained(tmp_path)


def test_a_loss_that_is_not_finite_overwrites_nothing(tmp_path: Path) -> None:
    class Explodes(BehaviorCloning):
        updates = 0

        def forward(self, batch: TransitionBatch) -> Losses:
            losses = super().forward(batch)
            self.updates += 1
            return losses._replace(total=losses.total * float("nan")) if self.updates == 6 else losses

    backbone = tiny_backbone()
    samples = samples_of(backbone)
    with pytest.raises(ModelError, match="not finite at update 6"):
        train(Explodes(backbone, RoleWeights()), samples, QUICK, output=tmp_path, seed=0)
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-4"]
    assert torch.isfinite(weights(backbone)).all()


def test_checkpoints_are_kept_as_asked_and_hold_a_loadable_model(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    backbone = trained(tmp_path, changed(checkpoint_every=3, keep_checkpoints=2))
    found = sorted(path.name for path in tmp_path.glob("*checkpoint-*"))
    updates = lines(tmp_path)[-1]["update"]
    assert len(found) == 2
    assert f"checkpoint-{updates}" in found
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / f"checkpoint-{updates}")
    assert torch.equal(weights(loaded), weights(backbone))
    assert len(AutoTokenizer.from_pretrained(tmp_path / f"checkpoint-{updates}")) == loaded.config.vocab_size
    state = json.loads((tmp_path / f"checkpoint-{updates}" / "trainer_state.json").read_text())
    assert (state["update"], state["updates"]) == (updates, updates)


@pytest.mark.parametrize(
    "difference",
    [
        {"epochs": 1.5},
        {"learning_rate": 0.02},
        {"optimizer": {"type": "muon"}},
        {"optimizer": {"type": "muon", "matrix_learning_rate": 0.5}},
        {"weight_decay": 0.5},
        {"warmup_fraction": 0.5},
        {"max_gradient_norm": 1e-3},
        {"tokens_per_batch": 256},
        {"gradient_accumulation": 2},
        {"mixed_precision": "bf16"},
    ],
)
def test_every_setting_changes_the_weights(tmp_path: Path, difference: dict[str, object]) -> None:
    compared = {"optimizer": {"type": "muon"}} if "matrix_learning_rate" in str(difference) else {}
    one = trained(tmp_path / "one", changed(epochs=2.0 if "epochs" in difference else 1.0, **compared))
    other = trained(tmp_path / "other", changed(**{"epochs": 1.0, **difference}))
    assert not torch.equal(weights(one), weights(other))


def test_log_every_is_the_number_of_updates_between_lines(tmp_path: Path) -> None:
    trained(tmp_path, changed(log_every=3))
    updates = [line["update"] for line in lines(tmp_path)]
    assert updates[:2] == [3, 6]
    line = lines(tmp_path)[0]
    assert {"loss", "loss_high", "loss_low", "loss_progress", "learning_rate", "gradient_norm"} < set(line)
    assert line["tokens_per_second"] > 0


def test_loss_is_the_mean_over_samples_however_they_are_batched(tmp_path: Path) -> None:
    backbone = tiny_backbone()
    samples = samples_of(backbone)
    config = changed(epochs=1.0, learning_rate=1e-12, weight_decay=0.0, log_every=1000)
    for tokens, name in ((200, "small"), (4000, "large")):
        train(
            BehaviorCloning(tiny_backbone(), RoleWeights()),
            samples,
            config.model_copy(update={"tokens_per_batch": tokens}),
            output=tmp_path / name,
            seed=0,
        )
    small, large = (lines(tmp_path / name)[0] for name in ("small", "large"))
    for name in ("loss", "loss_high", "loss_low", "loss_progress"):
        assert small[name] == pytest.approx(large[name], rel=1e-4)


def test_every_sample_has_the_same_weight_in_the_gradient() -> None:
    # Over one epoch the shares of all batches sum to the samples, whatever their sizes.
    plan = BatchPlan(of_lengths([10] * 7 + [90] * 3), changed(epochs=1.0, tokens_per_batch=100), seed=0, processes=1)
    sizes = [len(batch) for group in plan.updates_from(0, 0) for batch in group]
    assert sum(sizes) == 10
    assert len(set(sizes)) > 1
    assert sum(size / plan.transitions_per_batch for size in sizes) == pytest.approx(plan.updates)


def test_every_transition_has_the_same_weight_in_samples_of_different_sizes() -> None:
    [(one,), *_] = of_lengths([20])
    samples = [(one,) * number for number in (1, 5, 2, 9)]
    plan = BatchPlan(samples, changed(epochs=1.0, tokens_per_batch=20), seed=0, processes=1)
    assert (plan.updates, plan.transitions_per_batch) == (4, 17 / 4)


@pytest.mark.parametrize("epochs", [1.0, 2.5, 0.4])
def test_processes_share_the_batches_of_one(epochs: float) -> None:
    samples = of_lengths([5 + index % 17 for index in range(101)])
    config = changed(epochs=epochs, tokens_per_batch=32, gradient_accumulation=2)
    plans = [list(BatchPlan(samples, config, 0, 2).updates_from(0, process)) for process in (0, 1)]
    assert len(plans[0]) == len(plans[1]) == BatchPlan(samples, config, 0, 2).updates
    assert all(len(group) == 2 for plan in plans for group in plan)
    read = [index for plan in plans for group in plan for batch in group for index in batch]
    if epochs >= 1:
        assert set(read) == set(range(101))
    assert len(read) == pytest.approx(epochs * 101, abs=30)
    later = list(BatchPlan(samples, config, 0, 2).updates_from(5, 1))
    assert later == plans[1][5:]


@pytest.mark.parametrize("length", [10, 90])
def test_the_token_budget_holds_for_samples_of_any_length(length: int) -> None:
    config = changed(tokens=20_000, tokens_per_batch=500)
    samples = of_lengths([length] * 100)
    plan = BatchPlan(samples, config, seed=0, processes=1)
    read = sum(len(batch) for group in plan.updates_from(0, 0) for batch in group)
    assert read * length == pytest.approx(20_000, rel=0.05)


def test_training_leaves_the_random_state_unchanged(tmp_path: Path) -> None:
    state = torch.random.get_rng_state()
    trained(tmp_path, changed(epochs=0.5))
    assert torch.equal(state, torch.random.get_rng_state())


def test_fingerprints_ignore_logging_settings() -> None:
    samples = samples_of(tiny_backbone(), 6)
    digest = loop._fingerprint(samples, QUICK, 0, 1)
    assert digest == loop._fingerprint(samples, changed(log_every=7, keep_checkpoints=1), 0, 1)
    assert digest != loop._fingerprint(samples[:-1], QUICK, 0, 1)
    assert digest != loop._fingerprint(samples, QUICK, 0, 2)
    assert digest != loop._fingerprint([(*samples[0], *samples[1]), *samples[2:]], QUICK, 0, 1)
