"""The recipe and its sections other than agents and training."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt, model_validator

from step_hrl.config.agents import AGENT_CONFIGS, AgentConfig, ReactConfig, StepHrlConfig, agent_type
from step_hrl.config.base import Fraction, MixedPrecision, NonNegative, Quantization, Section, TopP, overlay
from step_hrl.config.training import BackboneConfig, BehaviorCloningConfig, DataWeights, OfflineRLConfig
from step_hrl.types import Ask, Role


def _without_password(url: str) -> str:
    """Refuse an address that would carry a secret into every file that names it."""
    if urlsplit(url).username or urlsplit(url).password:
        raise ValueError("an address without user or password: secrets come from the environment")
    return url


class WorldConfig(Section):
    """Which world, which of its tasks, and how many of its environments run at once."""

    name: str
    """Name of the world, such as ``scienceworld``, ``alfworld`` or ``pantry``."""
    tasks: tuple[str, ...] | None = None
    """Names of the tasks; null takes all of the world."""
    max_episode_steps: PositiveInt = 50
    """Actions after which an episode is truncated."""
    workers: PositiveInt = 2
    """Worker processes."""
    simulators_per_worker: PositiveInt = 16
    """Episodes that a worker keeps open at once."""
    step_timeout_seconds: PositiveFloat = 60.0
    """Longest wait for one reset or step, in seconds; then the worker is ended and its episode is retried."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Settings that only this world has; the world itself checks them."""


class DemonstrationsConfig(Section):
    """Which demonstrations the expert generates."""

    split: str = "train"
    """The split whose tasks are demonstrated."""
    per_task: PositiveInt | None = None
    """Demonstrations of each task, spread evenly over its variations. Where the split has fewer variations, they are
    demonstrated again with other mistakes (only with ``action_noise``). Null demonstrates each variation once."""
    validation_split: str | None = None
    """A split that is demonstrated too, to measure the policies in training on names that they do not train on, besides
    the training episodes that ``validation_fraction`` holds out."""
    validation_per_task: PositiveInt = 1
    """Variations of each task of the validation split, spread evenly."""
    action_noise: Fraction = 0.0
    """Share of the expert's actions that a random mistake replaces, so that demonstrations show recovery. Mistakes are
    never cloned."""
    max_episode_steps: PositiveInt = 100
    """Longest demonstration, in actions; some tasks take more than an agent is given."""

    @model_validator(mode="after")
    def _validation_is_apart(self) -> DemonstrationsConfig:
        if self.validation_split == self.split:
            raise ValueError(f"validation_split: {self.split!r} is trained on; name another split")
        return self


class CollectionConfig(Section):
    """Which episodes the policy plays for stage 2 to learn from, failures included."""

    split: str = "train"
    """The split whose tasks are played."""
    per_task: PositiveInt | None = None
    """Variations of each task, spread evenly; null takes all of the split."""
    repeats: PositiveInt = 1
    """Episodes of each variation."""
    temperature: NonNegative = 1.0
    """Sampling temperature; 0 is greedy, as in the public code."""
    top_p: TopP = 1.0
    """Probability mass of nucleus sampling (Holtzman et al. 2020)."""
    rounds: PositiveInt = 1
    """Rounds of collection and training: each plays the policy of the one before and learns from all rounds."""


class MaxNewTokens(Section):
    """Longest utterance of each role, in tokens."""

    high: PositiveInt = 48
    """Tokens of a subtask."""
    low: PositiveInt = 32
    """Tokens of an action and its ``subtask_done``."""
    progress: PositiveInt = 150
    """Tokens of a local progress."""


class GenerationConfig(Section):
    """How utterances are sampled."""

    temperature: NonNegative = 0.0
    """Sampling temperature; 0 is greedy."""
    repeat_temperature: NonNegative = 0.0
    """Least sampling temperature of an action whose prompt occurred before in the episode: a greedy policy that reads
    one step would repeat itself until the episode is truncated."""
    top_p: TopP = 1.0
    """Probability mass of nucleus sampling (Holtzman et al. 2020)."""
    max_new_tokens: MaxNewTokens = MaxNewTokens()
    """Longest utterance of each role."""
    batch_size: PositiveInt = 64
    """Most asks that are answered in one forward pass, and most episodes whose last prompt stays in memory, so that
    the next one is read only from where it differs."""
    mixed_precision: MixedPrecision = "auto"
    """Whether float32 weights are multiplied in bfloat16; ``auto`` does so on hardware that has instructions for it."""
    quantize: Quantization = "none"
    """``int8`` multiplies integers of 8 bits in all linear layers but the output head, on CPUs only. It acts faster on
    a CPU with instructions for that (AVX-512 VNNI), and changes some answers."""

    def temperature_of(self, ask: Ask) -> float:
        """Return the temperature at which an ask is answered."""
        is_repeat = ask.is_repeat and ask.role is Role.LOW
        return max(self.temperature, self.repeat_temperature) if is_repeat else self.temperature


class ApiConfig(Section):
    """A model behind an HTTP interface of OpenAI's form. It is prompted, never trained."""

    base_url: Annotated[str, AfterValidator(_without_password)]
    """Address of the interface, such as ``http://localhost:8000/v1``, without user or password."""
    model: str
    """The server's name of the model."""
    key_variable: str = "OPENAI_API_KEY"
    """Environment variable that holds the key."""
    concurrent: PositiveInt = 8
    """Requests in flight at once."""
    retries: Annotated[int, Field(ge=0)] = 6
    """How often a request is sent again after the server was full or failed."""
    timeout_seconds: PositiveFloat = 120.0
    """Longest wait for one answer, in seconds."""


class EvaluationConfig(Section):
    """On which episodes a policy is scored."""

    splits: tuple[str, ...] = ("dev",)
    """The splits to score on."""
    per_task: PositiveInt | None = None
    """Variations of each task, spread evenly; null takes all of the split."""
    concurrent: PositiveInt = 32
    """Episodes in flight at once."""
    untrained_per_task: Annotated[int, Field(ge=0)] = 0
    """Variations of each task on which the untrained policy is scored too, for comparison."""
    failed_as_zero: bool = False
    """Whether an episode that ended with an error scores 0, as in the public code, or the score it had reached."""


class AgentVariant(Section):
    """One of the compared agents: how it differs from the recipe."""

    agent: AgentConfig = StepHrlConfig()
    """The agent, in place of the recipe's."""
    stage_2: bool = True
    """Whether stage 2 trains it too, where the recipe has one."""
    data_weights: DataWeights | None = None
    """Data weights of its stage 2; null takes the recipe's."""


class PricesConfig(Section):
    """Prices of a million tokens, in any currency."""

    prompt: NonNegative
    """Price of prompt tokens that are read for the first time."""
    cached: NonNegative
    """Price of prompt tokens whose keys and values are known from an earlier prompt."""
    completion: NonNegative
    """Price of generated tokens."""


class CompareConfig(Section):
    """Which agents are compared. All else is the recipe's, and the same for all."""

    agents: Annotated[dict[str, AgentVariant], Field(min_length=2)]
    """Agents by the name that tables give them; the others are compared with the first."""
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0, 1, 2)
    """Seeds; every agent is trained and evaluated once with each."""
    tokens: PositiveInt
    """Padded tokens of stage 1, the same for every agent."""
    offline_rl_tokens: PositiveInt | None = None
    """Padded tokens of each round of stage 2, the same for every agent that it trains; required where the recipe has
    stage 2."""
    prices: PricesConfig | None = None
    """Prices by which an episode's cost is computed; null leaves the cost out."""

    @model_validator(mode="after")
    def _one_trained_policy_a_cell(self) -> CompareConfig:
        for name, variant in self.agents.items():
            if isinstance(variant.agent, ReactConfig):
                raise ValueError(f"{name}: react is prompted, not trained")
            if re.fullmatch(r"\w[\w.+-]*", name) is None:
                raise ValueError(f"{name!r} names no folder: use letters, digits and . + - _")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds named twice: {self.seeds}")
        return self


Preset = Literal["paper", "reference"]

_PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "paper": {},
    "reference": {
        "collection": {"temperature": 0.0},
        "offline_rl": {
            "policy_loss": "advantage",
            "expectile": 0.05,
            "q_read_at": "state_end",
            "discount": "decision",
            "subtask_reward": "trust_policy",
            "selection": {"split": "test"},
        },
        "agent": {"unreadable_action": "None", "complete_on_invalid_action": True},
        "evaluation": {"failed_as_zero": True},
    },
}


class Recipe(Section):
    """One experiment: a world, demonstrations, a backbone, training and evaluation."""

    name: str
    """Name of the experiment."""
    preset: Preset = "paper"
    """Defaults of the fields that the recipe leaves open: the paper's, or with ``reference`` those of the authors'
    public code where it differs from the paper."""
    seed: int = 0
    """Seed of everything random."""
    output: str | None = None
    """Folder of the run; null is ``runs/<name>``."""
    world: WorldConfig
    """The world and its tasks."""
    demonstrations: DemonstrationsConfig = DemonstrationsConfig()
    """The expert's demonstrations."""
    backbone: BackboneConfig = BackboneConfig()
    """The language model."""
    behavior_cloning: BehaviorCloningConfig = BehaviorCloningConfig()
    """Stage 1."""
    collection: CollectionConfig = CollectionConfig()
    """The episodes that stage 2 learns from, besides the demonstrations."""
    offline_rl: OfflineRLConfig | None = None
    """Stage 2; null ends with stage 1."""
    agent: AgentConfig = StepHrlConfig()
    """The agent."""
    generation: GenerationConfig = GenerationConfig()
    """How utterances are sampled in evaluation and play."""
    api: ApiConfig | None = None
    """A served model that plays instead of a trained policy, for ``step-hrl eval`` and ``step-hrl play``."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """On which episodes policies are scored."""
    compare: CompareConfig | None = None
    """What ``step-hrl compare`` compares; nothing else reads it."""

    @model_validator(mode="before")
    @classmethod
    def _start_from_preset(cls, tree: Any) -> Any:
        if not isinstance(tree, dict):
            return tree
        given = cast("dict[str, Any]", tree)
        return overlay(_preset_for(given), given)

    @property
    def folder(self) -> Path:
        """Return the folder of the run."""
        return Path(self.output) if self.output else Path("runs") / self.name


def _preset_for(given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what the preset of a tree says of the stages and the agent that the tree has.

    >>> _preset_for({"preset": "reference", "agent": {"type": "flat"}})["agent"]
    {'unreadable_action': 'None'}
    >>> "offline_rl" in _preset_for({"preset": "reference"})
    False
    """
    chosen = dict(_PRESETS.get(str(given.get("preset", "paper")), {}))
    if given.get("offline_rl") is None:
        chosen.pop("offline_rl", None)
    agent = AGENT_CONFIGS.get(agent_type(given.get("agent", {})) or "")
    if agent is not None and "agent" in chosen:
        chosen["agent"] = {key: value for key, value in chosen["agent"].items() if key in agent.model_fields}
    return chosen
