"""Packed weights give the products of the weights themselves."""

from __future__ import annotations

import platform
from collections.abc import Callable

import pytest
import torch

from common.engine import GenerationSpec
from cuda_sum.engine import PACK_FOR, CudaEngine
from cuda_sum.packed import pack, packed_linear
from tests.tiny_models import ARCHITECTURES

on_x86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="weights are packed on x86 only")


@on_x86
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("outputs", [1, 48, 515])
def test_a_product_with_a_packed_weight_is_the_product(dtype: torch.dtype, outputs: int) -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(outputs, 96, generator=generator).to(dtype)
    bias = torch.randn(outputs, generator=generator).to(dtype)
    packed = pack(weight)
    if packed is None:
        assert dtype != torch.float32, "every x86 processor packs float32"
        return
    for rows in (1, 3, 70, 300):
        for x in (torch.randn(rows, 96, generator=generator), torch.randn(96, rows, generator=generator).t()):
            x = x.to(dtype)
            for added in (None, bias):
                exact = torch.nn.functional.linear(
                    x.double(), weight.double(), None if added is None else bias.double()
                )
                found = packed_linear(x, packed, added)
                assert found.dtype == dtype
                assert found.shape == (rows, outputs)
                tolerance = 2 * torch.finfo(dtype).eps * 96**0.5
                torch.testing.assert_close(found.double(), exact, atol=tolerance * 10, rtol=tolerance)


@on_x86
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_texts_are_the_same_with_and_without_packed_weights(
    architecture: str, make_engine: Callable[..., CudaEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(architecture)
    prompts = [[7 + count, 3, 5 * count + 1, 2] for count in range(8)]
    spec = GenerationSpec(max_new_tokens=10)
    calls: list[int] = []
    monkeypatch.setattr(
        "cuda_sum.linears.packed_linear", lambda x, weight, bias: calls.append(len(x)) or packed_linear(x, weight, bias)
    )
    packed = engine.generate(prompts, spec)
    groups = len(engine._linears) + 1
    assert len(calls) >= 10 * groups, "every layer and the head, in the prefill and nine steps"
    calls.clear()
    monkeypatch.setitem(PACK_FOR, torch.float32, 9)
    assert engine.generate(prompts, spec) == packed
    assert not calls
    monkeypatch.setitem(PACK_FOR, torch.float32, 1)
    monkeypatch.setattr("cuda_sum.device.free_memory_bytes", lambda device: 0)
    assert engine.generate(prompts, spec) == packed
    assert not calls, "there is no memory for a copy"
