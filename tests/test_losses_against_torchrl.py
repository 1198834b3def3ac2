"""The losses of stage 2 against an independent implementation of implicit Q-learning."""

from __future__ import annotations

import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import InteractionType, ProbabilisticTensorDictModule, ProbabilisticTensorDictSequential
from tensordict.nn import TensorDictModule as Named
from torch import nn
from torchrl.objectives import IQLLoss

from step_hrl.losses import advantage_weight, expectile_regression, squared_error, td_target

EXPECTILE, BETA, GAMMA = 0.7, 0.5, 0.9
ROWS, WIDTH = 64, 5


class QFunction(nn.Module):
    """Q of an observation and an action."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(WIDTH + 1, 1)

    def forward(self, observation: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        return self.layer(torch.cat([observation, action], dim=-1))


class Normal(torch.distributions.Independent):
    def __init__(self, loc: torch.Tensor) -> None:
        super().__init__(torch.distributions.Normal(loc, torch.ones_like(loc)), 1)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_value_q_and_policy_losses_agree() -> None:
    torch.manual_seed(0)
    mean, value, q = nn.Linear(WIDTH, 1), nn.Linear(WIDTH, 1), QFunction()
    actor = ProbabilisticTensorDictSequential(
        Named(mean, ["observation"], ["loc"]),
        ProbabilisticTensorDictModule(
            in_keys=["loc"],
            out_keys=["action"],
            distribution_class=Normal,
            default_interaction_type=InteractionType.MODE,
        ),
    )
    theirs = IQLLoss(
        actor,
        Named(q, ["observation", "action"], ["state_action_value"]),
        Named(value, ["observation"], ["state_value"]),
        num_qvalue_nets=1,
        loss_function="l2",
        temperature=1 / BETA,
        expectile=EXPECTILE,
        reduction="none",
    )
    theirs.make_value_estimator(gamma=GAMMA)
    observation, following, action = torch.randn(ROWS, WIDTH), torch.randn(ROWS, WIDTH), torch.randn(ROWS, 1)
    reward, terminated = torch.randn(ROWS, 1), torch.rand(ROWS, 1) < 0.3
    data = TensorDict(
        {
            "observation": observation,
            "action": action,
            "next": {"observation": following, "reward": reward, "done": terminated, "terminated": terminated},
        },
        [ROWS],
    )
    # torchrl copies the Q function with new weights.
    own = dict(theirs.qvalue_network_params.flatten_keys(".").items())
    for name, parameter in q.named_parameters():
        parameter.data = next(v for key, v in own.items() if key.endswith(name)).data.reshape(parameter.shape).clone()
    found = theirs(data)

    with torch.no_grad():
        qs, vs, next_vs = q(observation, action)[:, 0], value(observation)[:, 0], value(following)[:, 0]
        likelihood = Normal(mean(observation)).log_prob(action)
        discount = GAMMA * (~terminated[:, 0]).float()
        target = td_target(reward[:, 0], next_vs, discount)
        ours = {
            "loss_qvalue": squared_error(qs, target),
            "loss_value": expectile_regression(vs, qs, EXPECTILE),
            "loss_actor": -advantage_weight(qs - vs, BETA, 100.0) * likelihood,
        }
    for name, loss in ours.items():
        assert loss.tolist() == pytest.approx(found[name].detach().flatten().tolist(), abs=1e-5), name
