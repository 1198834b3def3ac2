"""Every field of a recipe is documented, and every variant is chosen by its type."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter

import step_hrl.config
from step_hrl.config import AgentConfig, AgentVariant, DataWeights, OptimizerConfig, Recipe, Section, StepHrlConfig
from step_hrl.config.agents import AGENT_CONFIGS

SECTIONS = [value for value in vars(step_hrl.config).values() if isinstance(value, type) and issubclass(value, Section)]


@pytest.mark.parametrize("section", SECTIONS)
def test_every_field_is_documented(section: type[Section]) -> None:
    assert [name for name, field in section.model_fields.items() if not field.description] == []


@pytest.mark.parametrize("name", AGENT_CONFIGS)
def test_an_agent_is_chosen_by_its_type(name: str) -> None:
    agents: TypeAdapter[AgentConfig] = TypeAdapter(AgentConfig)
    found = agents.validate_python({"type": name})
    assert type(found) is AGENT_CONFIGS[name]
    assert agents.validate_python(found) == found
    assert agents.validate_python(agents.dump_python(found, mode="json")) == found
    recipe = Recipe.model_validate({"name": "n", "world": {"name": "pantry"}, "agent": found, "preset": "reference"})
    assert recipe.agent == found, "what is given as a section is taken as it is"
    assert AgentVariant(agent=found, data_weights=DataWeights(demonstration=0)).agent == found


def test_an_agent_has_only_the_settings_that_it_uses() -> None:
    fields = {
        name: set(section.model_fields) - {"type", "unreadable_action"} for name, section in AGENT_CONFIGS.items()
    }
    history = {"history_characters", "history_steps"}
    assert fields == {
        "step_hrl": {"complete_on_invalid_action"},
        "no_hierarchy": set(),
        "no_local_progress": {"complete_on_invalid_action"},
        "flat": history,
        "history_hrl": {"complete_on_invalid_action", *history},
        "react": {"instructions", *history},
    }
    assert {name: section.model_fields["type"].default for name, section in AGENT_CONFIGS.items()} == {
        name: name for name in AGENT_CONFIGS
    }


def test_defaults_are_the_agent_of_the_paper_and_adamw() -> None:
    recipe = Recipe.model_validate({"name": "n", "world": {"name": "pantry"}, "offline_rl": {}})
    assert recipe.agent == StepHrlConfig()
    assert recipe.offline_rl is not None
    assert {recipe.behavior_cloning.optimizer.type, recipe.offline_rl.optimizer.type} == {"adamw"}
    optimizers: TypeAdapter[OptimizerConfig] = TypeAdapter(OptimizerConfig)
    assert optimizers.dump_python(optimizers.validate_python({"type": "muon"})) == {
        "type": "muon",
        "matrix_learning_rate": 0.01,
    }
