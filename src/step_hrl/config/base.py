"""What every section of a recipe is made of, and how one tree of settings is laid over another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
TopP = Annotated[float, Field(gt=0.0, le=1.0)]
MixedPrecision = Literal["auto", "no", "bf16"]
"""Whether float32 weights are multiplied in bfloat16; ``auto`` does so on hardware that has instructions for it."""
Quantization = Literal["none", "int8"]
"""How the weights of linear layers are stored while a policy acts."""


class Section(BaseModel):
    """A part of a recipe: frozen, and closed to unknown keys. The text below a field is its ``description``."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        protected_namespaces=(),
        use_attribute_docstrings=True,
        ser_json_inf_nan="constants",
    )


def overlay(base: Mapping[str, Any], tree: Mapping[str, Any]) -> dict[str, Any]:
    """Lay a tree of settings over another: its values win, and what it leaves open keeps the base's value.

    Mappings merge key by key. A mapping that names another ``type`` than the base's replaces it, because the settings
    of one variant mean nothing to another.

    Args:
        base: The tree below.
        tree: The tree on top.

    Returns:
        A new tree, which may share subtrees with both.

    >>> overlay({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}, "d": 4})
    {'a': {'b': 1, 'c': 3}, 'd': 4}
    >>> overlay({"optimizer": {"type": "muon", "matrix_learning_rate": 0.01}}, {"optimizer": {"type": "adamw"}})
    {'optimizer': {'type': 'adamw'}}
    """
    merged = dict(base)
    for key, value in tree.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            lower, upper = cast("Mapping[str, Any]", below), cast("Mapping[str, Any]", value)
            same = "type" not in lower or "type" not in upper or lower["type"] == upper["type"]
            merged[key] = overlay(lower, upper) if same else upper
        else:
            merged[key] = value
    return merged
