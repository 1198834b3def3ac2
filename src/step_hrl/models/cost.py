"""The cost of decisions: multiply-adds, estimated from a decoder's shape, and money, from a price list."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from step_hrl.errors import ModelError
from step_hrl.types import Usage


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a decoder with gated feed-forward layers and grouped-query attention, such as Llama."""

    width: int
    layers: int
    feed_forward: int
    heads: int
    key_value_heads: int
    head_width: int
    vocabulary: int

    @classmethod
    def read(cls, policy: Path) -> Shape:
        """Read the shape of a policy's backbone from its ``config.json``. Raises ModelError where it has none."""
        file = policy / "config.json"
        try:
            config: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            # Models that also read images nest the configuration of their language model.
            config = config.get("text_config", config)
            heads = int(config["num_attention_heads"])
            return cls(
                width=int(config["hidden_size"]),
                layers=int(config["num_hidden_layers"]),
                feed_forward=int(config["intermediate_size"]),
                heads=heads,
                key_value_heads=int(config.get("num_key_value_heads") or heads),
                head_width=int(config.get("head_dim") or config["hidden_size"] // heads),
                vocabulary=int(config["vocab_size"]),
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(str(file), f"no decoder shape ({error!r})", "train the policy first") from error


def multiply_adds(shape: Shape, usage: Usage) -> int:
    """Multiply-adds of one decision.

    Every token that is not cached passes through all layers and attends to itself and to all tokens before it; every
    completion token also needs one product with the output matrix. Normalization, activations and embeddings are not
    counted.

    >>> multiply_adds(Shape(2, 1, 3, 1, 1, 2, 5), Usage(prompt_tokens=1, completion_tokens=1))
    90
    """
    attention = shape.heads * shape.head_width
    projections = 2 * shape.width * attention + 2 * shape.width * shape.key_value_heads * shape.head_width
    token = shape.layers * (projections + 3 * shape.width * shape.feed_forward)
    total, cached = usage.total, usage.cached_tokens
    pairs = (total * (total + 1) - cached * (cached + 1)) // 2
    output = usage.completion_tokens * shape.width * shape.vocabulary
    return (total - cached) * token + pairs * 2 * shape.layers * attention + output


@dataclass(frozen=True, slots=True)
class Prices:
    """The price of a million tokens, in any currency."""

    prompt: float
    cached: float
    completion: float

    def of(self, usage: Usage) -> float:
        """The price of one decision.

        >>> Prices(prompt=2.0, cached=0.5, completion=10.0).of(Usage(1_000_000, 400_000, 100_000))
        2.4
        """
        new = usage.prompt_tokens - usage.cached_tokens
        total = new * self.prompt + usage.cached_tokens * self.cached + usage.completion_tokens * self.completion
        return total / 1_000_000
