from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from step_hrl.errors import ModelError
from step_hrl.models.cost import Shape, multiply_adds
from step_hrl.types import Usage

SHAPE = Shape(width=4, layers=2, feed_forward=8, heads=2, key_value_heads=1, head_width=2, vocabulary=50)


@given(st.integers(0, 300), st.integers(0, 40), st.integers(0, 40))
def test_cached_tokens_cost_what_they_cost_when_first_read(known: int, new: int, completion: int) -> None:
    whole = multiply_adds(SHAPE, Usage(known + new, 0, completion))
    assert whole == multiply_adds(SHAPE, Usage(known, 0, 0)) + multiply_adds(
        SHAPE, Usage(known + new, known, completion)
    )


def test_weights_are_counted_once_per_token() -> None:
    # Per layer: queries and output 16 each, keys and values 8 each, three feed-forward matrices of 32.
    assert multiply_adds(SHAPE, Usage(1, 0, 0)) == 2 * (16 + 16 + 8 + 8 + 3 * 32) + 2 * 2 * 4
    assert multiply_adds(SHAPE, Usage(1, 1, 1)) - multiply_adds(SHAPE, Usage(2, 1, 0)) == 4 * 50


def test_a_shape_is_read_from_a_policy(tmp_path: Path) -> None:
    config = {
        "hidden_size": 8,
        "num_hidden_layers": 2,
        "intermediate_size": 16,
        "num_attention_heads": 4,
        "vocab_size": 9,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert Shape.read(tmp_path) == Shape(8, 2, 16, 4, 4, 2, 9)
    (tmp_path / "config.json").write_text(json.dumps({**config, "num_key_value_heads": 2, "head_dim": 3}))
    assert Shape.read(tmp_path) == Shape(8, 2, 16, 4, 2, 3, 9)


@pytest.mark.parametrize("content", ["{}", "[1]", "{", '{"hidden_size": null}'])
def test_a_config_without_a_shape_is_an_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ModelError, match=r"config\.json: no decoder shape"):
        Shape.read(tmp_path)
