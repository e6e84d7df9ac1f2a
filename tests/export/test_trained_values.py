"""What a quantized base computes with, against the libraries that quantize it during training."""

from __future__ import annotations

import numpy as np
import pytest

from common.export.trained_values import int8_rows, mlx_affine, nf4, unpack_mlx


def _weight(seed: int, shape: tuple[int, int] = (96, 192)) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return (generator.normal(size=shape) * generator.uniform(0.01, 0.3, size=(shape[0], 1))).astype(np.float32)


@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_nf4_values_are_those_of_bitsandbytes(double: bool, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("bitsandbytes.functional")
    weight = _weight(1)
    kind = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}[dtype]
    packed, state = functional.quantize_4bit(
        torch.from_numpy(weight).to(kind), quant_type="nf4", compress_statistics=double
    )
    expected = functional.dequantize_4bit(packed, state).float().numpy()
    assert np.abs(expected - weight).max() > 1e-3  # quantization does change the weights
    ours = nf4(weight, dtype, double)
    step = {"F32": 1e-6, "F16": 2**-10, "BF16": 2**-7}[dtype]  # one rounding step, relative
    assert np.isclose(ours, expected, rtol=step, atol=1e-7).mean() > 0.99
    # Where a block's maximum lies half-way between two of the 8-bit codes, the libraries' own kernels disagree too.
    np.testing.assert_allclose(ours, expected, rtol=0.02, atol=1e-7)


def test_int8_values_are_those_of_bitsandbytes() -> None:
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("bitsandbytes.functional")
    weight = _weight(2)
    levels, stats, _ = functional.int8_vectorwise_quant(torch.from_numpy(weight).half())
    expected = functional.int8_vectorwise_dequant(levels, stats).numpy()
    assert np.abs(expected - weight).max() > 1e-4
    np.testing.assert_allclose(int8_rows(weight), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("bits", "group"), [(4, 64), (4, 32), (8, 64)])
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_affine_values_are_those_of_mlx(bits: int, group: int, dtype: str) -> None:
    mx = pytest.importorskip("mlx.core")
    weight = _weight(3)
    weight[0] = np.abs(weight[0])  # groups that touch zero from one side only
    weight[1] = 0.0
    kind = {"F32": mx.float32, "F16": mx.float16, "BF16": mx.bfloat16}[dtype]
    packed, scales, biases = mx.quantize(mx.array(weight).astype(kind), group, bits)
    expected = np.array(mx.dequantize(packed, scales, biases, group, bits).astype(mx.float32))
    assert np.abs(expected - weight).max() > 1e-4
    step = {"F32": 1e-6, "F16": 2**-10, "BF16": 2**-7}[dtype]
    ours = mlx_affine(weight, bits, group, dtype)
    np.testing.assert_allclose(ours, expected, rtol=step, atol=step * np.abs(weight).max())
    unpacked = unpack_mlx(
        np.array(packed), np.array(scales.astype(mx.float32)), np.array(biases.astype(mx.float32)), bits, group
    )
    np.testing.assert_allclose(unpacked, expected, rtol=step, atol=step * np.abs(weight).max())
