"""What only an NVIDIA GPU shows: `pytest -m gpu`."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from cuda_sum import device
from cuda_sum.engine import CudaEngine
from tests.engine_cuda.cases import random_batch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]
MakeEngine = Callable[..., CudaEngine]


@pytest.mark.parametrize("quantize", ["none", "4bit"])
def test_a_step_waits_for_the_gpu_once(quantize: str, make_engine: MakeEngine) -> None:
    engine = make_engine("qwen2", quantize=quantize, dtype="auto")
    batches = [random_batch(1), random_batch(2)]
    engine.step(batches, 1e-3)
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            engine.step(batches, 1e-3)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    waits = [warning for warning in seen if "synchronizing" in str(warning.message)]
    assert len(waits) == 1, [f"{warning.filename}:{warning.lineno}" for warning in waits]


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("architecture", ["llama", "qwen2", "phi"])
def test_the_only_fused_attention_of_a_t4_serves_training(
    architecture: str, dtype: str, make_engine: MakeEngine
) -> None:
    engine = make_engine(architecture, dtype=dtype)
    with sdpa_kernel(SDPBackend.EFFICIENT_ATTENTION):  # raises where a call would need another kernel
        first = engine.evaluate([random_batch(1)]).loss
        for _ in range(3):
            engine.step([random_batch(1)], 1e-2)
        assert engine.evaluate([random_batch(1)]).loss < first


@pytest.mark.parametrize("quantize", ["none", "4bit"])
@pytest.mark.parametrize("architecture", ["llama", "qwen2", "phi"])
def test_losses_and_gradients_are_those_of_a_cpu(
    architecture: str, quantize: str, make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_gpu = make_engine(architecture, quantize=quantize)
    with monkeypatch.context() as patch:
        patch.setattr(device, "pick_device", lambda: torch.device("cpu"))
        on_cpu = make_engine(architecture, quantize=quantize)
    batches = [random_batch(1), random_batch(2)]
    assert on_gpu.device.kind == "cuda"
    assert on_gpu.evaluate(batches).loss == pytest.approx(on_cpu.evaluate(batches).loss, rel=1e-4)
    ours, plain = on_gpu.gradients(batches), on_cpu.gradients(batches)
    for name, expected in plain.items():
        np.testing.assert_allclose(ours[name], expected, rtol=1e-3, atol=1e-5, err_msg=name)
