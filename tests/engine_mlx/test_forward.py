"""Hidden states at target rows are the full model's there, and cost less."""

from __future__ import annotations

import mlx.core as mx
import pytest

from mlx_sum.engine import build
from mlx_sum.forward import target_states
from mlx_sum.loss import target_rows
from tests.contract.cases import ModelDir, exact_spec, random_adapter
from tests.tiny_models import ARCHITECTURES

ROWS = mx.array([3, 39, 40, 41, 77, 77, 119])


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_states_equal_those_of_mlx_lms_whole_model(tiny_model: ModelDir, architecture: str, training: bool) -> None:
    engine = build(exact_spec(tiny_model(architecture)))
    engine.load_adapter(random_adapter(engine))
    tokens = mx.random.randint(0, 384, (3, 40), key=mx.random.key(0))
    whole = engine.model.model(tokens, None)
    engine.model.train(training)
    states = target_states(engine.model, tokens, ROWS)
    assert states.shape == (7, 64)
    assert mx.abs(states - target_rows(whole, ROWS)).max().item() < 1e-4
    assert mx.abs(states[0] - states[1]).max().item() > 0.1


def test_rows_are_flat_indices() -> None:
    hidden = mx.arange(2 * 3 * 4).reshape(2, 3, 4)
    assert target_rows(hidden, mx.array([1, 5])).tolist() == [hidden[0, 1].tolist(), hidden[1, 2].tolist()]


def test_the_last_layers_feed_forward_part_sees_target_rows_only(tiny_model: ModelDir) -> None:
    engine = build(exact_spec(tiny_model("qwen2"), lora=None))
    seen = []
    for layer in engine.model.model.layers:
        plain = layer.mlp.gate_proj
        layer.mlp.gate_proj = lambda x, plain=plain: seen.append(x.shape[:-1]) or plain(x)
    target_states(engine.model, mx.zeros((3, 40), mx.int32), ROWS)
    assert seen == [(3, 40), (7,)]
