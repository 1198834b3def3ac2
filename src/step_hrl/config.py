"""The recipe: everything an experiment depends on, as one frozen tree; ``recipes.py`` reads it from YAML."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

from step_hrl.types import Ask, Role

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
MixedPrecision = Literal["auto", "no", "bf16"]
"""Whether float32 weights are multiplied in bfloat16: ``auto`` does where the hardware has instructions for it."""


def _without_password(url: str) -> str:
    """Refuse an address that would carry a secret into every file that names it."""
    if urlsplit(url).username or urlsplit(url).password:
        raise ValueError("an address without user or password: secrets come from the environment")
    return url


class Section(BaseModel):
    """A part of a recipe: frozen, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class WorldConfig(Section):
    """Which world, which of its tasks, and how many of it run at once."""

    name: str
    tasks: tuple[str, ...] | None = None
    """Task names; None takes all the world has."""
    max_episode_steps: PositiveInt = 50
    """Actions an agent may take in an episode before it is truncated."""
    workers: PositiveInt = 2
    """Worker processes."""
    simulators_per_worker: PositiveInt = 16
    """Episodes that one worker keeps open at once."""
    step_timeout_seconds: PositiveFloat = 60.0
    """A worker that takes longer for one reset or step is ended and its episode retried."""
    options: dict[str, Any] = Field(default_factory=dict)
    """What only this world knows; checked by the world itself."""


class DemonstrationsConfig(Section):
    """How many expert episodes are made."""

    split: str = "train"
    per_task: PositiveInt | None = None
    """Demonstrations of each task: variations spread evenly, and where the split has fewer, the same ones again with
    other mistakes (only with ``action_noise``); None takes each variation once."""
    action_noise: Fraction = 0.0
    """Share of the expert's actions that are replaced by a mistake, to show the way back from it. The mistakes
    themselves are never cloned."""
    renamed: Fraction = 0.0
    """Share of the demonstrations that are shown where things have one another's names, so that a backbone from scratch
    learns to read what is there. Only of worlds whose expert needs no names: alfworld and pantry."""
    max_episode_steps: PositiveInt = 100
    """Longest demonstration, in actions: some tasks need more than an agent is given."""


class LoraConfig(Section):
    """Low-rank adapters (Hu et al. 2021) on the attention projections; the paper's values."""

    rank: PositiveInt = 16
    alpha: PositiveInt = 32
    dropout: Fraction = 0.05
    target_modules: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")


class TinyConfig(Section):
    """A Llama made from scratch, with a byte-level BPE trained on the demonstrations."""

    width: PositiveInt = 256
    layers: PositiveInt = 4
    heads: PositiveInt = 4
    vocabulary: PositiveInt = 4096
    context: PositiveInt = 2048


class BackboneConfig(Section):
    """The language model all three roles share."""

    source: str = "tiny"
    """``tiny``, a folder, a ``.gguf`` file or a hub id."""
    tiny: TinyConfig = TinyConfig()
    lora: LoraConfig | None = None
    """Adapters instead of full training."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """What weights are held in."""
    prompt_format: Literal["plain", "chat"] = "plain"
    """``chat`` wraps each prompt as a user turn of the tokenizer's chat template."""
    trust_remote_code: bool = False
    """Whether a hub model may run code of its own."""


class RoleWeights(Section):
    """How much each role's loss counts; 0 leaves a role out."""

    high: Annotated[float, Field(ge=0)] = 1.0
    low: Annotated[float, Field(ge=0)] = 1.0
    progress: Annotated[float, Field(ge=0)] = 1.0


class EntityPermutationConfig(Section):
    """How many times more each of a role's decisions is shown with other names."""

    high: Annotated[float, Field(ge=0)] = 0.0
    low: Annotated[float, Field(ge=0)] = 0.0
    progress: Annotated[float, Field(ge=0)] = 0.0


class TrainingConfig(Section):
    """What every training stage needs."""

    epochs: PositiveFloat = 5.0
    """Passes over the data; may be a fraction."""
    tokens: PositiveInt | None = None
    """Padded tokens to read, instead of epochs: whatever an agent's prompts are like, it is trained on as much text."""
    learning_rate: PositiveFloat = 1e-4
    optimizer: Literal["adamw", "muon"] = "adamw"
    """``muon`` orthogonalises the matrices' updates (Jordan et al. 2024) and keeps AdamW for the rest."""
    muon_learning_rate: PositiveFloat = 0.01
    """Of the matrices, under ``muon``."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    warmup_fraction: Fraction = 0.03
    """Share of the updates in which the learning rate rises; then it falls along a cosine."""
    max_gradient_norm: PositiveFloat = 1.0
    tokens_per_batch: PositiveInt = 1536
    """Padded tokens of one forward pass: batches hold samples of similar length."""
    gradient_accumulation: PositiveInt = 1
    max_tokens_per_sample: PositiveInt = 1024
    """Longer samples are an error, never cut."""
    mixed_precision: MixedPrecision = "auto"
    processes: PositiveInt = 1
    """Data-parallel processes on this machine."""
    checkpoint_every: PositiveInt = 500
    """Updates between checkpoints."""
    keep_checkpoints: PositiveInt = 2
    log_every: PositiveInt = 20
    """Updates between lines of metrics."""
    validation_fraction: Fraction = 0.02
    """Share of the episodes kept back to measure the loss on."""
    trackers: tuple[Literal["trackio", "tensorboard", "wandb"], ...] | None = None
    """Where metrics also go; JSON lines are always written. None: to trackio where it is installed, which keeps them on
    this machine."""


class BehaviorCloningConfig(TrainingConfig):
    """Stage 1: length-normalised log-likelihood of the demonstrations' utterances, per role."""

    role_weights: RoleWeights = RoleWeights()
    prompt_weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the prompts' own likelihood beside the utterances'. 0 is the paper's; a backbone from scratch, which
    has never read a text, learns from prompts to copy what stands in them."""
    renamed: EntityPermutationConfig = EntityPermutationConfig()
    """How many times more a decision that copies a name is shown, each time with other names, so that a backbone from
    scratch learns to copy names instead of knowing the few of the training tasks by heart."""
    deduplicate: bool = False
    """Whether a decision that occurs many times (same role, prompt and utterance) counts once an epoch. Half of what
    short household tasks consist of is the same few corridors; False weighs them as the demonstrations do."""


class CollectionConfig(Section):
    """Which episodes stage 1's policy plays for stage 2 to learn from, failures included."""

    split: str = "train"
    per_task: PositiveInt | None = None
    """Variations of each task, spread evenly; None takes all the split has."""
    repeats: PositiveInt = 1
    """Episodes of each variation."""
    temperature: Annotated[float, Field(ge=0)] = 1.0
    """Of the sampling; 0 is greedy."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    rounds: PositiveInt = 1
    """How often to collect and train: each round plays the policy of the one before and learns from all rounds."""


class DataWeights(Section):
    """How much a transition counts by where it comes from; 0 leaves a source out."""

    expert: Annotated[float, Field(ge=0)] = 1.0
    collected: Annotated[float, Field(ge=0)] = 1.0


class SelectionConfig(Section):
    """How the best of several checkpoints is found: by its score, never on what is reported as test."""

    split: str = "dev"
    per_task: PositiveInt | None = None
    """Variations of each task, spread evenly; None takes all the split has."""


class OfflineRLConfig(TrainingConfig):
    r"""Stage 2: implicit values of whole utterances, and advantage-weighted regression.

    .. math::
        L_Q &= (Q(s,u) - (r + \gamma^n V_{target}(s')))^2 \\
        L_V &= L_\tau(Q_{target}(s,u) - V(s)) \\
        L_\pi &= -\min(\exp(A / \beta), w_{max}) \, \log \pi(u \mid s), \quad A = Q_{target}(s,u) - V(s)

    Where the paper gives no value, the default is this project's. What the public code does otherwise are the fields
    ``policy_loss``, ``expectile``, ``q_read_at``, ``discount`` and ``subtask_reward``; see ``Recipe.preset``.
    """

    epochs: PositiveFloat = 3.0
    learning_rate: PositiveFloat = 1e-5
    """Of the policy, that is of the backbone."""
    critic_learning_rate: PositiveFloat = 1e-4
    critic_warmup: Annotated[int, Field(ge=0)] = 100
    """First updates in which only the critics learn."""
    critic_grad_scale: Fraction = 0.3
    """How much of the critics' gradient reaches the backbone; at 0 they read it and leave it alone."""
    n_critics: Literal[1, 2] = 1
    """Number of Q functions a role; the smaller estimate is used."""
    gamma: Fraction = 0.99
    """Discount of one environment step."""
    discount: Literal["step", "decision"] = "step"
    """Whether a decision of n steps discounts what follows by gamma^n or, as the public code does, by gamma once."""
    expectile: Annotated[float, Field(gt=0, lt=1)] = 0.7
    """tau; above 1/2 V leans towards the better utterances."""
    awr_beta: PositiveFloat = 0.15
    """beta; the smaller, the more the better utterances count."""
    awr_max_weight: PositiveFloat = 20.0
    policy_loss: Literal["advantage_weighted_regression", "advantage"] = "advantage_weighted_regression"
    """``advantage`` minimises -A log pi, which is what the public code does."""
    q_read_at: Literal["utterance_end", "state_end"] = "utterance_end"
    """Where V's target reads Q; the public code reads it at the state's end, where Q is never trained."""
    target_tau: Annotated[float, Field(gt=0, le=1)] = 0.2
    """How far the target critics move towards the critics after each update."""
    subtask_reward: Literal["verified", "trust_policy"] = "verified"
    """Whether the low level is rewarded for subtasks that were really achieved, where that can be told, or, as the
    public code does, for every one it says is complete."""
    role_weights: RoleWeights = RoleWeights()
    data_weights: DataWeights = DataWeights()
    selection: SelectionConfig = SelectionConfig()
    """With ``keep_checkpoints`` above 1, the one that scores best is the policy."""
    keep_checkpoints: PositiveInt = 1


class AgentConfig(Section):
    """Who acts, and how: the paper's agent, without some of its parts if so wanted, or a baseline."""

    kind: Literal["step_hrl", "flat", "history_hrl", "react"] = "step_hrl"
    """``flat`` is one policy that reads a transcript of the whole episode; ``history_hrl`` has two levels, the lower of
    which reads the transcript of its subtask; ``react`` is ``flat`` for a model that is prompted only, and thinks aloud
    before it acts."""
    instructions: str = ""
    """Only of ``react``: what it is told of the world, such as which commands there are."""
    hierarchy: bool = True
    """Only of ``step_hrl``: whether a high level names subtasks, or the instruction is the only one."""
    local_progress: bool = True
    """Only of ``step_hrl``: whether local progress is kept."""
    history_characters: PositiveInt = 4000
    """Longest transcript in a prompt, of agents that read one; what is older is dropped."""
    history_steps: PositiveInt | None = None
    """Most steps of it; None: as many as fit."""
    unreadable_action: str | None = None
    """What is done where the low level's reply cannot be read; None does nothing. The public code does ``None``."""
    complete_on_invalid_action: bool = False
    """Whether a subtask ends when the low level says so with an action the world did not understand, as it does in the
    paper. Here nothing was done then, and the subtask goes on."""

    @model_validator(mode="after")
    def _only_what_the_kind_has(self) -> AgentConfig:
        if self.kind != "step_hrl" and not (self.hierarchy and self.local_progress):
            raise ValueError(f"only step_hrl can go without hierarchy or local_progress, not {self.kind}")
        if self.kind != "react" and self.instructions:
            raise ValueError(f"only react is given instructions, not {self.kind}")
        return self


class MaxNewTokens(Section):
    """Longest utterance of each role, in tokens."""

    high: PositiveInt = 48
    low: PositiveInt = 32
    progress: PositiveInt = 150


class GenerationConfig(Section):
    """How utterances are drawn."""

    temperature: Annotated[float, Field(ge=0)] = 0.0
    """0 is greedy."""
    repeat_temperature: Annotated[float, Field(ge=0)] = 0.0
    """At least this, of an action whose prompt the episode has come to before: a greedy policy that reads one step
    would do there for ever what it did the first time."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_new_tokens: MaxNewTokens = MaxNewTokens()
    batch_size: PositiveInt = 64
    """Most asks answered in one forward pass."""
    mixed_precision: MixedPrecision = "auto"

    def temperature_of(self, ask: Ask) -> float:
        """The temperature at which to answer."""
        is_repeat = ask.is_repeat and ask.role is Role.LOW
        return max(self.temperature, self.repeat_temperature) if is_repeat else self.temperature


class ApiConfig(Section):
    """A model behind an HTTP interface of OpenAI's form. It is prompted, never trained."""

    base_url: Annotated[str, AfterValidator(_without_password)]
    """Such as ``http://localhost:8000/v1``."""
    model: str
    """What the server calls it."""
    key_variable: str = "OPENAI_API_KEY"
    """The environment variable that holds the key."""
    concurrent: PositiveInt = 8
    """Requests under way at once."""
    retries: Annotated[int, Field(ge=0)] = 6
    """How often a request is sent again that met a full or failing server."""
    timeout_seconds: PositiveFloat = 120.0
    """Longest wait for one answer."""


class EvaluationConfig(Section):
    """On what a policy is scored."""

    splits: tuple[str, ...] = ("dev",)
    per_task: PositiveInt | None = None
    """Variations of each task, spread evenly; None takes all the split has."""
    concurrent: PositiveInt = 32
    """Episodes in flight at once."""
    untrained_per_task: Annotated[int, Field(ge=0)] = 0
    """Variations of each task on which the untrained policy is scored too, for comparison."""
    failed_as_zero: bool = False
    """Whether an episode that broke counts as 0, as in the public code, or with the score it had reached."""


class AgentVariant(Section):
    """One of the agents to compare: in what it differs from the recipe."""

    agent: AgentConfig = AgentConfig()
    stage_2: bool = True
    """Whether it is trained by stage 2 too, where the recipe has one."""
    data_weights: DataWeights | None = None
    """Of stage 2, if not the recipe's."""


class PricesConfig(Section):
    """What a million tokens cost, in whatever currency."""

    prompt: Annotated[float, Field(ge=0)]
    cached: Annotated[float, Field(ge=0)]
    """Of a prompt, those that were known from one before."""
    completion: Annotated[float, Field(ge=0)]


class CompareConfig(Section):
    """Which agents are compared with one another. All else is the recipe's, and the same for all."""

    agents: Annotated[dict[str, AgentVariant], Field(min_length=2)]
    """By the name that tables give them; the first is the one the others are compared with."""
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0, 1, 2)
    """Every agent is trained and played once with each."""
    tokens: PositiveInt
    """Padded tokens of stage 1's training, the same for every agent."""
    offline_rl_tokens: PositiveInt | None = None
    """Padded tokens of each round of stage 2, the same for every agent that is trained by it."""
    prices: PricesConfig | None = None
    """To say what an episode would have cost."""

    @model_validator(mode="after")
    def _one_trained_policy_a_cell(self) -> CompareConfig:
        for name, variant in self.agents.items():
            if variant.agent.kind == "react":
                raise ValueError(f"{name}: react is prompted, not trained")
            if re.fullmatch(r"\w[\w.+-]*", name) is None:
                raise ValueError(f"{name!r} names no folder: use letters, digits and . + - _")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds named twice: {self.seeds}")
        return self


Preset = Literal["method", "reference"]

_PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "method": {},
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
    preset: Preset = "method"
    """What fields start from that the recipe leaves open: the method, or what the authors' public code does instead."""
    seed: int = 0
    output: str | None = None
    """Where everything is written; None is ``runs/<name>``."""
    world: WorldConfig
    demonstrations: DemonstrationsConfig = DemonstrationsConfig()
    backbone: BackboneConfig = BackboneConfig()
    behavior_cloning: BehaviorCloningConfig = BehaviorCloningConfig()
    collection: CollectionConfig = CollectionConfig()
    offline_rl: OfflineRLConfig | None = None
    """Stage 2; None ends with stage 1."""
    agent: AgentConfig = AgentConfig()
    generation: GenerationConfig = GenerationConfig()
    api: ApiConfig | None = None
    """A model to play instead of one that is trained here: for `step-hrl eval` and `play`."""
    evaluation: EvaluationConfig = EvaluationConfig()
    compare: CompareConfig | None = None
    """What `step-hrl compare` compares; nothing else reads it."""

    @model_validator(mode="before")
    @classmethod
    def _start_from_preset(cls, tree: Any) -> Any:
        if not isinstance(tree, dict):
            return tree
        given = cast("dict[str, Any]", tree)
        preset = _PRESETS.get(str(given.get("preset", "method")), {})
        # A recipe without stage 2 has none under any preset.
        chosen = {key: value for key, value in preset.items() if key != "offline_rl" or given.get(key) is not None}
        return _over(chosen, given)

    @property
    def folder(self) -> Path:
        """Where everything is written."""
        return Path(self.output) if self.output else Path("runs") / self.name


def _over(base: Mapping[str, Any], tree: Mapping[str, Any]) -> dict[str, Any]:
    """A tree laid over another: what it says wins, what it leaves open is the base's.

    >>> _over({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}, "d": 4})
    {'a': {'b': 1, 'c': 3}, 'd': 4}
    """
    merged = dict(base)
    for key, value in tree.items():
        below = merged.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        merged[key] = _over(cast("Mapping[str, Any]", below), cast("Mapping[str, Any]", value)) if both else value
    return merged
