"""The flat AdamW and its clipping against torch's own, one parameter at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from common.engine import OptimizerSpec
from common.errors import CheckpointError
from cuda_sum.engine import CudaEngine
from cuda_sum.optimizer import AdamW
from tests.engine_cuda.cases import random_batch

MakeEngine = Callable[..., CudaEngine]


def test_five_steps_are_those_of_torchs_adamw_and_clipping_on_separate_parameters(make_engine: MakeEngine) -> None:
    spec = OptimizerSpec(beta1=0.8, beta2=0.95, epsilon=1e-6, weight_decay=0.1, max_grad_norm=0.3)
    engine = make_engine("qwen2", optimizer=spec)
    parameters = {name: torch.nn.Parameter(torch.from_numpy(value)) for name, value in engine.adapter().items()}
    reference = torch.optim.AdamW(
        parameters.values(), betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1, foreach=False, fused=False
    )
    clipped = 0
    for step in range(5):
        learning_rate = 1e-2 / (step + 1)
        batch = random_batch(step)
        for name, gradient in engine.gradients([batch]).items():
            parameters[name].grad = torch.from_numpy(gradient)
        norm = torch.nn.utils.clip_grad_norm_(parameters.values(), 0.3).item()
        clipped += norm > 0.3
        reference.param_groups[0]["lr"] = learning_rate
        reference.step()
        stats = engine.step([batch], learning_rate)
        assert stats.grad_norm == pytest.approx(norm, rel=1e-4)
    assert clipped > 0
    for name, value in engine.adapter().items():
        np.testing.assert_allclose(value, parameters[name].detach().numpy(), atol=2e-6, err_msg=name)


def test_adapter_matrices_and_their_gradients_stay_views_of_one_buffer(make_engine: MakeEngine) -> None:
    """What the optimizer updates is what the layers compute with, and autograd adds where the optimizer reads."""
    engine = make_engine("llama")
    for seed in range(2):
        engine.step([random_batch(seed), random_batch(seed + 10)], 1e-2)
    adapter = engine._adapter
    assert adapter is not None
    for buffer, pick in ((adapter.values, lambda p: p), (adapter.gradients, lambda p: p.grad)):
        inside = range(buffer.data_ptr(), buffer.data_ptr() + buffer.numel() * 4)
        for part in adapter.layers.values():
            assert pick(part.a).data_ptr() in inside
            assert pick(part.b).data_ptr() in inside
    assert adapter.values.numel() == engine.trainable_parameters


def test_a_checkpoint_of_another_optimizer_is_refused(make_engine: MakeEngine, tmp_path: Path) -> None:
    make_engine("llama").save(tmp_path)
    other = make_engine("llama", optimizer=OptimizerSpec(name="adamw-8bit"))
    with pytest.raises(CheckpointError, match="optimizer settings"):
        other.restore(tmp_path)


def test_paged_state_on_a_gpu_is_not_resumed() -> None:
    values = torch.zeros(8192)
    optimizer = AdamW(OptimizerSpec(name="paged-adamw-8bit"), values, torch.zeros(8192))
    state = optimizer.state()
    optimizer.load_state(state)
    optimizer._optimizer.state[optimizer._parameters[0]]["state1"].is_paged = True  # what bitsandbytes sets on a GPU
    with pytest.raises(CheckpointError, match="cannot be resumed"):
        optimizer.load_state(state)


@pytest.mark.filterwarnings("error")
def test_the_paged_optimizer_is_the_plain_one_on_a_cpu_and_warns_of_nothing() -> None:
    updated = []
    for name in ("adamw-8bit", "paged-adamw-8bit"):
        values = torch.zeros(8192)
        AdamW(OptimizerSpec(name=name), values, torch.linspace(-1.0, 1.0, 8192)).update(1e-2, 1.0)
        updated.append(values)
    assert torch.equal(*updated)
    assert updated[0].abs().max() > 1e-3
