"""Stage 2 on a tiny model: its losses, its gradients, resuming, and the effect of every setting."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.tiny_model import TINY_CONFIG, tiny_backbone, weights
from tests.tiny_model import transitions as decisions

from step_hrl.config import OfflineRLConfig
from step_hrl.data.transitions import trajectories_of
from step_hrl.errors import DataError, ModelError
from step_hrl.losses import utterance_log_likelihood
from step_hrl.models import backbone as backbones
from step_hrl.models.backbone import Backbone
from step_hrl.models.collate import ROLES, TransitionBatch, TransitionTokens, collate, size_of
from step_hrl.models.critics import CRITICS_FILE, Critics
from step_hrl.training import checkpoints, offline_rl
from step_hrl.training.loop import Losses, train
from step_hrl.training.offline_rl import OfflineRL, encode, estimate_values, run, train_offline_rl
from step_hrl.training.value_estimates import from_line, rank_correlations
from step_hrl.types import Role, Transition

QUICK = OfflineRLConfig(
    epochs=2.0,
    learning_rate=1e-2,
    critic_learning_rate=1e-2,
    critic_warmup=2,
    critic_grad_scale=0.0,
    awr_beta=0.5,
    tokens_per_batch=512,
    checkpoint_every=3,
    keep_checkpoints=10,
    log_every=1,
    mixed_precision="no",
)
COLLECTED = frozenset({"episode-1", "episode-3"})


def example_trajectories(number: int = 5) -> list[Transition]:
    """Episodes of six decisions of each role. Every third ends a trajectory, half of those by truncation."""
    made: list[Transition] = []
    for episode in range(number):
        drawn = decisions(18, seed=episode)
        for role in Role:
            trajectory = [replace(t, episode_id=f"episode-{episode}") for t in drawn if t.role is role]
            for place, transition in enumerate(trajectory):
                ends = place % 3 == 2
                cut = ends and (episode + place) % 2 == 0
                follows = trajectory[place + 1].state if not ends else trajectory[0].state if cut else None
                reward = 0.0 if not ends else 0.25 if cut else 1.0
                made.append(
                    replace(
                        transition,
                        reward=reward + 0.01 * episode,
                        next_state=follows,
                        terminated=follows is None,
                        duration=1 + place if role is Role.HIGH else 1,
                    )
                )
    return made


def changed(**fields: object) -> OfflineRLConfig:
    return OfflineRLConfig.model_validate({**QUICK.model_dump(), **fields})


def objective(config: OfflineRLConfig = QUICK, backbone: Backbone | None = None) -> OfflineRL:
    backbone = backbone or tiny_backbone().eval()
    return OfflineRL(backbone, Critics(32, n_critics=config.n_critics, seed=3), config)


def batch_of(sample: Sequence[TransitionTokens], backbone: Backbone) -> TransitionBatch:
    return collate([tuple(sample)], backbone.tokenizer.pad)


def trained(output: Path, config: OfflineRLConfig = QUICK, data: Sequence[Transition] | None = None) -> torch.Tensor:
    """Weights of policy and critics after training."""
    backbone = tiny_backbone()
    given = example_trajectories() if data is None else data
    train_offline_rl(backbone, given, example_trajectories(2), config, collected=COLLECTED, output=output, seed=0)
    newest = checkpoints.latest(output)
    assert newest is not None
    critics = Critics(32, n_critics=config.n_critics)
    critics.restore(newest)
    return torch.cat([weights(backbone), weights(critics)])


def test_one_pass_reads_what_separate_passes_would() -> None:
    rl = objective()
    with torch.no_grad():
        sample = encode(example_trajectories(), rl.backbone.tokenizer, QUICK, 128)
        separate = sum(len(sequence) for transition in sample for sequence in transition.sequences)
        assert size_of(tuple(sample)) < 0.6 * separate
        together = rl(batch_of(sample, rl.backbone))
        # The same by hand: a pass for s and u, another for s'.
        losses: list[torch.Tensor] = []
        for transition in example_trajectories():
            tokens = rl.backbone.tokenizer
            prompt = tokens.encode_prompts([transition.state])[0]
            utterance = tokens.encode_utterances([transition.utterance])[0]
            hidden = rl.backbone.decoder(input_ids=torch.tensor([[*prompt, *utterance]])).last_hidden_state[0]
            head = ROLES.index(transition.role)
            target = torch.tensor(transition.reward)
            if not transition.terminated:
                assert transition.next_state is not None
                after = torch.tensor([tokens.encode_prompts([transition.next_state])[0]])
                last = rl.backbone.decoder(input_ids=after).last_hidden_state[0, -1]
                target = target + 0.99**transition.duration * rl.critics.target_v[head](last)[0]
            value = rl.critics.v[head](hidden[len(prompt) - 1])[0]
            q = rl.critics.q[0][head](hidden[-1])[0]
            target_q = rl.critics.target_q[0][head](hidden[-1])[0]
            logits = rl.backbone.logits(hidden[len(prompt) - 1 : -1])
            ids = torch.tensor(utterance)
            likelihood = logits.log_softmax(dim=-1).gather(1, ids[:, None]).mean()
            advantage = target_q - value
            expectile = 0.7 if advantage >= 0 else 0.3
            weight = min(float((advantage / 0.5).exp()), 20.0)
            losses.append((q - target) ** 2 + expectile * advantage**2 - weight * likelihood)
    assert float(together.total) == pytest.approx(float(torch.stack(losses).mean()), rel=1e-4)


def test_samples_hold_consecutive_decisions_of_one_episode_within_half_a_batch() -> None:
    backbone = tiny_backbone()
    encoded = encode(example_trajectories(), backbone.tokenizer, QUICK, 128)
    # Episodes that come mixed are put together.
    mixed = [*encoded[::2], *encoded[1::2]]
    samples = offline_rl._samples(mixed, QUICK)
    assert sorted(id(each) for sample in samples for each in sample) == sorted(map(id, encoded))
    assert all(len({each.episode_id for each in sample}) == 1 for sample in samples)
    assert all(size_of(sample) <= QUICK.tokens_per_batch // 2 for sample in samples)
    assert len(samples) > 5


def test_transitions_that_are_not_cloned_train_the_critics_only() -> None:
    rl = objective()
    masked = [replace(t, clone_mask=False) for t in example_trajectories()]
    losses = rl(batch_of(encode(masked, rl.backbone.tokenizer, QUICK, 128), rl.backbone))
    assert float(losses.sums["policy_loss_low"].total) == 0
    assert float(losses.sums["q_loss_low"].total) > 0
    losses.total.backward()
    assert all(p.grad is None or float(p.grad.abs().sum()) == 0 for p in rl.backbone.parameters())
    assert any(float(p.grad.abs().sum()) > 0 for p in rl.critics.parameters() if p.grad is not None)


def test_the_critics_gradient_reaches_the_backbone_by_its_scale() -> None:
    gradients: dict[float, torch.Tensor] = {}
    for scale in (0.0, 0.5, 1.0):
        rl = objective(changed(critic_grad_scale=scale))
        masked = [replace(t, clone_mask=False) for t in example_trajectories()]
        rl(batch_of(encode(masked, rl.backbone.tokenizer, QUICK, 128), rl.backbone)).total.backward()
        found = [p.grad for p in rl.backbone.parameters() if p.grad is not None]
        gradients[scale] = torch.cat([g.flatten() for g in found]) if found else torch.zeros(1)
    assert float(gradients[0.0].abs().sum()) == 0
    assert float(gradients[1.0].abs().sum()) > 0
    assert torch.allclose(2 * gradients[0.5], gradients[1.0], atol=1e-6)


def test_the_policy_does_not_move_during_the_critics_warmup(tmp_path: Path) -> None:
    before = weights(tiny_backbone())
    backbone = tiny_backbone()
    everything = changed(critic_warmup=10_000)
    train_offline_rl(backbone, example_trajectories(), [], everything, collected=COLLECTED, output=tmp_path, seed=0)
    assert torch.equal(weights(backbone), before)
    critics = Critics(32, seed=0)
    fresh = weights(critics)
    newest = checkpoints.latest(tmp_path)
    assert newest is not None
    critics.restore(newest)
    assert not torch.equal(weights(critics), fresh)


def test_values_fit_the_returns_and_the_policy_prefers_the_better_reply(tmp_path: Path) -> None:
    # Two replies to the same prompt, one rewarded and one punished.
    decision = decisions(3)[1]
    good = replace(decision, utterance="take lamp; True", reward=1.0, terminated=True, episode_id="good")
    bad = replace(decision, utterance="take apple; True", reward=-1.0, terminated=True, episode_id="bad")
    backbone = tiny_backbone()
    config = changed(epochs=60.0, expectile=0.5, gamma=1.0, max_tokens_per_sample=128)
    train_offline_rl(backbone, [good, bad] * 4, [], config, collected=frozenset(), output=tmp_path, seed=0)
    tokens = backbone.tokenizer
    rl = objective(config, backbone.eval())
    newest = checkpoints.latest(tmp_path)
    assert newest is not None
    rl.critics.restore(newest)
    batch = batch_of(encode([good, bad], tokens, config, 128), backbone)
    with torch.no_grad():
        hidden = backbone.hidden_states(batch).flatten(0, 1)
        utterance, state = hidden[batch.utterance_end], hidden[batch.state_end]
        estimates = rl.critics(state, utterance, utterance, state, batch.role)
        likelihood = utterance_log_likelihood(backbone.score(batch).log_probs, batch.utterance_mask)
    assert estimates.q[0].tolist() == pytest.approx([1.0, -1.0], abs=0.2)
    assert estimates.value.tolist() == pytest.approx([0.0, 0.0], abs=0.3)
    assert likelihood[0] > likelihood[1] + 0.1


class Interrupted(Exception):
    pass


class StopsAt(OfflineRL):
    """Raises in the middle of an update, as if the process had been killed."""

    calls_left = 8

    def forward(self, batch: TransitionBatch) -> Losses:
        self.calls_left -= 1
        if self.calls_left < 0:
            raise Interrupted
        return super().forward(batch)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_resumed_run_ends_with_bitwise_identical_policy_and_critics(tmp_path: Path, optimizer: str) -> None:
    config = changed(optimizer={"type": optimizer}, n_critics=2, epochs=4.0, critic_grad_scale=0.5)
    whole = trained(tmp_path / "whole", config)
    backbone = tiny_backbone()
    samples = offline_rl._samples(encode(example_trajectories(), backbone.tokenizer, config, 128), config)
    stops = StopsAt(backbone, Critics(32, n_critics=2, seed=0), config)
    with pytest.raises(Interrupted):
        train(stops, samples, config, output=tmp_path / "cut", seed=0, label="offline RL")
    newest = checkpoints.latest(tmp_path / "cut")
    assert newest is not None
    assert newest.name == "checkpoint-6"
    assert (newest / CRITICS_FILE).is_file()
    resumed = trained(tmp_path / "cut", config)
    assert torch.equal(resumed, whole)


ALTERNATIVES: dict[str, object] = {
    "epochs": 3.0,
    "learning_rate": 2e-2,
    "critic_learning_rate": 2e-2,
    "critic_warmup": 4,
    "critic_grad_scale": 1.0,
    "gamma": 0.5,
    "discount": "decision",
    "expectile": 0.05,
    "awr_beta": 0.1,
    "awr_max_weight": 0.5,
    "policy_loss": "advantage",
    "q_read_at": "state_end",
    "target_tau": 0.9,
    "role_weights": {"high": 3.0},
    "data_weights": {"collected": 0.5},
    "optimizer": {"type": "muon"},
    "weight_decay": 0.5,
    "warmup_fraction": 0.5,
    "max_gradient_norm": 0.01,
    "tokens_per_batch": 900,
    "gradient_accumulation": 2,
    "tokens": 1000,
    "mixed_precision": "bf16",
}
TESTED_ELSEWHERE = {
    "n_critics": "tests/models/test_critics.py",
    "subtask_reward": "tests/test_pipeline.py",
    "selection": "tests/test_pipeline.py",
    "validation_fraction": "tests/test_pipeline.py",
    "max_tokens_per_sample": "test_samples_longer_than_allowed_are_refused",
    "processes": "test_two_processes_train_and_the_policy_loads_again",
    "checkpoint_every": "tests/training/test_loop.py",
    "keep_checkpoints": "tests/training/test_loop.py",
    "log_every": "tests/training/test_loop.py",
    "trackers": "tests/training/test_trackers.py",
}


def test_every_setting_has_a_test() -> None:
    assert {*ALTERNATIVES, *TESTED_ELSEWHERE} == set(OfflineRLConfig.model_fields)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> torch.Tensor:
    return trained(tmp_path_factory.mktemp("plain"))


@pytest.mark.parametrize("field", ALTERNATIVES)
def test_every_setting_changes_the_weights(tmp_path: Path, plain: torch.Tensor, field: str) -> None:
    assert not torch.equal(trained(tmp_path, changed(**{field: ALTERNATIVES[field]})), plain)


def test_muons_learning_rate_changes_the_weights(tmp_path: Path) -> None:
    fast, slow = (
        trained(tmp_path / str(rate), changed(optimizer={"type": "muon", "matrix_learning_rate": rate}))
        for rate in (0.01, 0.001)
    )
    assert not torch.equal(fast, slow)


def test_a_source_or_role_of_weight_0_is_not_trained_on(tmp_path: Path) -> None:
    expert_only = trained(tmp_path / "weight", changed(data_weights={"collected": 0.0}))
    without = [t for t in example_trajectories() if t.episode_id not in COLLECTED]
    assert torch.equal(trained(tmp_path / "data", QUICK, without), expert_only)
    with pytest.raises(DataError, match="raise one of the weights"):
        trained(tmp_path / "none", changed(role_weights={"high": 0.0, "low": 0.0, "progress": 0.0}))


def test_samples_longer_than_allowed_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="episode episode-0"):
        trained(tmp_path, changed(max_tokens_per_sample=20))


def test_a_loss_that_is_not_finite_names_the_episode_and_keeps_earlier_checkpoints(tmp_path: Path) -> None:
    broken = [replace(t, reward=float("nan")) if t.episode_id == "episode-2" else t for t in example_trajectories()]
    with pytest.raises(ModelError, match=r"not finite at update .*episode-2"):
        trained(tmp_path, changed(tokens_per_batch=80), [t for t in broken if t.episode_id == "episode-2"])
    assert checkpoints.latest(tmp_path) is None


def test_two_processes_train_and_the_policy_loads_again(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    policy = tmp_path / "policy"
    policy.mkdir()
    tiny_backbone().save(policy)
    config = changed(processes=2, epochs=1.0)
    run(config, TINY_CONFIG, policy, example_trajectories(), example_trajectories(2), COLLECTED, tmp_path / "rl", 0)
    newest = checkpoints.latest(tmp_path / "rl")
    assert newest is not None
    trained_policy = backbones.load(TINY_CONFIG.model_copy(update={"source": str(newest)}), device="cpu")
    assert not torch.equal(weights(trained_policy), weights(tiny_backbone()))
    assert len(re.findall(r"^values: (\d+)/\1 trajectories, .* 0 s left$", capfd.readouterr().err, re.MULTILINE)) == 1
    correlations = json.loads((tmp_path / "rl" / "values.json").read_text())
    assert set(correlations) == {role.value for role in Role}
    estimates = [from_line(line) for line in (tmp_path / "rl" / "value_estimates.jsonl").read_text().splitlines()]
    keys = sorted((each.episode_id, each.role, each.number) for each in estimates)
    assert keys == sorted(numbered(example_trajectories(2)))
    assert all(-1 <= value <= 1 for value in correlations.values())


def numbered(cut: list[Transition]) -> list[tuple[str, str, int]]:
    counts = Counter[tuple[str, str]]()
    keys = list[tuple[str, str, int]]()
    for transition in cut:
        key = (transition.episode_id, transition.role.value)
        keys.append((*key, counts[key]))
        counts[key] += 1
    return keys


def test_rank_correlations_compare_value_estimates_with_returns() -> None:
    rl = objective()
    trajectories = [
        encode(trajectory, rl.backbone.tokenizer, QUICK, 128) for trajectory in trajectories_of(example_trajectories())
    ]

    class Reversed(OfflineRL):
        """Estimates minus the return of each transition."""

        def values(self, batch: TransitionBatch) -> tuple[torch.Tensor, torch.Tensor]:
            following, found = 0.0, list[float]()
            for reward, discount in zip(batch.reward.tolist()[::-1], batch.discount.tolist()[::-1], strict=True):
                following = reward + discount * following
                found.append(following)
            return -torch.tensor(found[::-1]), torch.zeros(len(found))

    estimates = estimate_values(Reversed(rl.backbone, rl.critics, QUICK), trajectories)
    correlations = rank_correlations(estimates)
    assert all(value == pytest.approx(-1.0, abs=1e-3) for value in correlations.values())
    assert len(correlations) == 3
    assert all(each.value == pytest.approx(-each.return_to_go) for each in estimates)
    low = [each for each in estimates if (each.episode_id, each.role) == ("episode-0", "low")]
    assert [each.number for each in low] == list(range(len(low)))
