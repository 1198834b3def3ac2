"""The backbone, the optimizers and the two training stages."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from step_hrl.config.base import Fraction, MixedPrecision, NonNegative, Section


class LoraConfig(Section):
    """Low-rank adapters (Hu et al. 2021); the defaults are the paper's."""

    rank: PositiveInt = 16
    """Rank of the update of each matrix."""
    alpha: PositiveInt = 32
    """The update is scaled by ``alpha / rank``."""
    dropout: Fraction = 0.05
    """Dropout probability of the adapter's input."""
    target_modules: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")
    """Names of the modules that get an adapter."""


class TinyConfig(Section):
    """A Llama with random weights, and a byte-level BPE that is trained on the demonstrations."""

    width: PositiveInt = 256
    """Hidden size."""
    layers: PositiveInt = 4
    """Number of transformer blocks."""
    heads: PositiveInt = 4
    """Attention heads of a block; they must divide ``width``."""
    vocabulary: PositiveInt = 4096
    """Most tokens of the vocabulary."""
    context: PositiveInt = 2048
    """Longest sequence, in tokens."""


class BackboneConfig(Section):
    """The language model that all three roles share."""

    source: str = "tiny"
    """``tiny``, a named backbone (``smollm2-135m``), a folder, a ``.gguf`` file or a hub id."""
    tiny: TinyConfig = TinyConfig()
    """Sizes of the model; read only where ``source`` is ``tiny``."""
    lora: LoraConfig | None = None
    """Adapters to train; null trains all weights."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Data type that weights are stored in."""
    prompt_format: Literal["plain", "chat"] = "plain"
    """``chat`` wraps each prompt as a user turn of the tokenizer's chat template."""
    trust_remote_code: bool = False
    """Whether a hub model may run its own code."""


class AdamWConfig(Section):
    """AdamW (Loshchilov and Hutter 2019) for all parameters, at the section's ``learning_rate``."""

    type: Literal["adamw"] = "adamw"
    """Names the variant."""


class MuonConfig(Section):
    """Muon (Jordan et al. 2024) for the hidden matrices, whose updates it orthogonalizes; AdamW for all else."""

    type: Literal["muon"] = "muon"
    """Names the variant."""
    matrix_learning_rate: PositiveFloat = 0.01
    """Peak learning rate of the hidden matrices. All else is trained at the section's ``learning_rate``."""


OptimizerConfig = Annotated[AdamWConfig | MuonConfig, Field(discriminator="type")]
"""Any optimizer."""


class RoleWeights(Section):
    """The weight of each role's loss; 0 leaves a role out."""

    high: NonNegative = 1.0
    """Weight of the high level's loss."""
    low: NonNegative = 1.0
    """Weight of the low level's loss."""
    progress: NonNegative = 1.0
    """Weight of the local progress policy's loss."""


class TrainingConfig(Section):
    """What both training stages share."""

    epochs: PositiveFloat = 5.0
    """Passes over the data; may be a fraction."""
    tokens: PositiveInt | None = None
    """Tokens to read instead of ``epochs``, so that agents with prompts of different length train on as much text; null
    trains for ``epochs``. Here and below, a beginning that decisions share counts once."""
    learning_rate: PositiveFloat = 1e-4
    """Peak learning rate of AdamW."""
    optimizer: OptimizerConfig = AdamWConfig()
    """The optimizer of the backbone."""
    weight_decay: NonNegative = 0.01
    """Decoupled weight decay of matrices and embeddings; vectors have none."""
    warmup_fraction: Fraction = 0.03
    """Share of the updates in which learning rates rise linearly; then they fall along a cosine to 0."""
    max_gradient_norm: PositiveFloat = 1.0
    """Norm that the gradient is clipped to."""
    tokens_per_batch: PositiveInt = 1536
    """Tokens of one forward pass, without padding."""
    gradient_accumulation: PositiveInt = 1
    """Batches of one update."""
    max_tokens_per_sample: PositiveInt = 1024
    """Longest sample, in tokens; a longer one is an error and is never cut."""
    mixed_precision: MixedPrecision = "auto"
    """Whether float32 weights are multiplied in bfloat16; ``auto`` does so on hardware that has instructions for it."""
    processes: PositiveInt = 1
    """Data-parallel processes on this machine."""
    checkpoint_every: PositiveInt = 500
    """Updates between checkpoints."""
    keep_checkpoints: PositiveInt = 2
    """Newest checkpoints that are kept."""
    log_every: PositiveInt = 20
    """Updates between lines of metrics."""
    validation_fraction: Fraction = 0.02
    """Share of the episodes whose loss is measured and that are not trained on."""
    trackers: tuple[Literal["trackio", "tensorboard", "wandb"], ...] | None = None
    """Trackers that metrics go to besides the JSON lines, which are always written. Null uses trackio where it is
    installed; it keeps metrics on this machine."""


class BehaviorCloningConfig(TrainingConfig):
    """Stage 1: length-normalized log-likelihood of the demonstrations' utterances, per role."""

    role_weights: RoleWeights = RoleWeights()
    """The weight of each role's loss."""
    deduplicate: bool = False
    """Whether a decision that occurs several times (same role, prompt and utterance) counts once per epoch. Half of the
    decisions of short household tasks repeat others; false weighs decisions by their frequency."""


class DataWeights(Section):
    """The weight of a transition by its source; 0 leaves a source out."""

    demonstration: NonNegative = 1.0
    """Weight of the transitions of demonstrations."""
    collected: NonNegative = 1.0
    """Weight of the transitions of collected episodes."""


class SelectionConfig(Section):
    """On what the best of several checkpoints is selected by its score; never on what is reported as test."""

    split: str = "dev"
    """The split to score on; the public code selects on the test split."""
    per_task: PositiveInt | None = None
    """Variations of each task, spread evenly; null takes all of the split."""


class OfflineRLConfig(TrainingConfig):
    r"""Stage 2: implicit Q-learning over whole utterances, and advantage-weighted regression.

    .. math::
        L_Q &= (Q(s,u) - (r + \gamma^n V_{target}(s')))^2 \\
        L_V &= L_\tau(Q_{target}(s,u) - V(s)) \\
        L_\pi &= -\min(\exp(A / \beta), w_{max}) \, \log \pi(u \mid s), \quad A = Q_{target}(s,u) - V(s)

    Where the paper gives no value, the default is this project's. The public code differs in ``policy_loss``,
    ``expectile``, ``q_read_at``, ``discount``, ``subtask_reward`` and ``selection``; see ``Recipe.preset``.
    """

    epochs: PositiveFloat = 3.0
    """Passes over the data; may be a fraction."""
    learning_rate: PositiveFloat = 1e-5
    """Peak learning rate of AdamW for the policy, that is for the backbone."""
    critic_learning_rate: PositiveFloat = 1e-4
    """Peak learning rate of the critics, which AdamW trains."""
    critic_warmup: Annotated[int, Field(ge=0)] = 100
    """First updates, in which only the critics are trained."""
    critic_grad_scale: Fraction = 0.3
    """Scale of the critics' gradient into the backbone; at 0 the critics read the backbone and do not train it."""
    n_critics: Literal[1, 2] = 1
    """Q functions of each role; with two, the smaller estimate is used (Fujimoto et al. 2018)."""
    gamma: Fraction = 0.99
    """Discount of one environment step."""
    discount: Literal["step", "decision"] = "step"
    """The discount of a decision of n steps: gamma^n with ``step``, gamma with ``decision``, as in the public code."""
    expectile: Annotated[float, Field(gt=0, lt=1)] = 0.7
    """tau of the value loss; above 1/2, V leans toward the better utterances. The public code has 0.05."""
    awr_beta: PositiveFloat = 0.15
    """beta, the temperature of advantage-weighted regression; a smaller one favors the better utterances more."""
    awr_max_weight: PositiveFloat = 20.0
    """Largest weight of an utterance in advantage-weighted regression."""
    policy_loss: Literal["advantage_weighted_regression", "advantage"] = "advantage_weighted_regression"
    """``advantage`` minimizes -A log pi, as the public code does."""
    q_read_at: Literal["utterance_end", "state_end"] = "utterance_end"
    """Token at which V's target reads Q. The public code reads it at the end of the state, where Q is never trained."""
    target_tau: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Share of the way that target critics move toward the critics after each update."""
    subtask_reward: Literal["verified", "trust_policy"] = "verified"
    """Whether the low level is rewarded for subtasks that the verifier confirms, where it can tell, or for every
    ``subtask_done`` of the policy, as in the public code."""
    role_weights: RoleWeights = RoleWeights()
    """The weight of each role's loss."""
    data_weights: DataWeights = DataWeights()
    """The weight of a transition by its source."""
    selection: SelectionConfig = SelectionConfig()
    """How the best checkpoint is selected; read only with ``keep_checkpoints`` above 1."""
    keep_checkpoints: PositiveInt = 1
    """Newest checkpoints that are kept; with several, the one with the best score becomes the policy."""
