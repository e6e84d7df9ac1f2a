"""The values that a quantized base's linear layers really had while the adapter was trained, in numpy.

A merged model must hold these (plus the adapter) to answer as the run did; merging into the unquantized weights is
another model. Formulas: NF4 and double quantization, Dettmers et al. 2023 (QLoRA) as bitsandbytes computes them;
LLM.int8(), Dettmers et al. 2022; affine groups as MLX computes them. Knows nothing of files or models.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from common.export.tensor_files import from_float32, to_float32

# Quantiles of a normal distribution, scaled to [-1, 1]: table of the QLoRA paper, appendix E.
NF4_CODE = np.array(
    [
        -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
        -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
        0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
    ],
    np.float32,
)  # fmt: skip
NF4_BLOCK = 64
ABSMAX_BLOCK = 256


def round_to(values: np.ndarray, dtype: str) -> np.ndarray:
    """Float32 values rounded to safetensors type `dtype` (`F16`, `BF16`, `F32`), as float32."""
    return values if dtype == "F32" else to_float32(from_float32(values, dtype), dtype)


def nf4(weight: np.ndarray, dtype: str = "F32", double: bool = True) -> np.ndarray:
    """`weight` (out, in) after NF4 and back: blocks of 64 along the rows, laid end to end.

    dtype   safetensors type of the weight when it was quantized, and of the dequantized values
    double  whether each block's maximum was quantized too (to 8 bits, in blocks of 256)
    """
    flat = round_to(weight, dtype).reshape(-1)
    padded = np.pad(flat, (0, -len(flat) % NF4_BLOCK)).reshape(-1, NF4_BLOCK)
    absmax = np.abs(padded).max(axis=1)
    scaled = np.clip(padded * (np.float32(1.0) / np.maximum(absmax, np.float32(1e-38)))[:, None], -1.0, 1.0)
    codes = NF4_CODE[_nearest(scaled, NF4_CODE)]
    if double:
        absmax = _eight_bit(absmax)
    restored = (codes * absmax[:, None]).reshape(-1)[: len(flat)].reshape(weight.shape)
    return round_to(restored, dtype)


def _eight_bit(absmax: np.ndarray) -> np.ndarray:
    """Block maxima after 8-bit dynamic quantization of their distance from the mean."""
    offset = absmax.mean(dtype=np.float32)
    centred = absmax - offset
    padded = np.pad(centred, (0, -len(centred) % ABSMAX_BLOCK)).reshape(-1, ABSMAX_BLOCK)
    scale = np.abs(padded).max(axis=1)
    scaled = np.clip(padded * (np.float32(1.0) / np.maximum(scale, np.float32(1e-38)))[:, None], -1.0, 1.0)
    code = _dynamic_code()
    restored: np.ndarray = (code[_nearest(scaled, code)] * scale[:, None]).reshape(-1)[: len(centred)] + offset
    return restored


@cache
def _dynamic_code() -> np.ndarray:
    """The 256 values of the signed dynamic 8-bit type (Dettmers 2016, arXiv:1511.04561): exponent and fraction."""
    values = [0.0, 1.0]
    for exponent in range(7):
        bounds = np.linspace(0.1, 1.0, 2**exponent + 1, dtype=np.float32)
        means = ((bounds[:-1] + bounds[1:]) / np.float32(2.0)).astype(np.float64)
        values += [sign * 10.0 ** (exponent - 6) * mean for mean in means for sign in (1.0, -1.0)]
    return np.sort(np.array(values, np.float32))


def _nearest(scaled: np.ndarray, code: np.ndarray) -> np.ndarray:
    """Index of the nearest entry of the sorted `code`; a tie goes to the lower one."""
    bounds = (code[:-1] + code[1:]) / np.float32(2.0)
    return np.searchsorted(bounds, scaled, side="left")


def int8_rows(weight: np.ndarray, dtype: str = "F16") -> np.ndarray:
    """`weight` (out, in) after row-wise absmax 8-bit quantization and back (the weights of LLM.int8())."""
    rounded = round_to(weight, dtype)
    absmax = np.abs(rounded).max(axis=1, keepdims=True).astype(np.float32)
    levels = np.rint(rounded * (np.float32(127.0) / np.maximum(absmax, np.float32(1e-38))))
    return (levels * (absmax / np.float32(127.0))).astype(np.float32)


def mlx_affine(weight: np.ndarray, bits: int, group_size: int, dtype: str = "F32") -> np.ndarray:
    """`weight` (out, in) after MLX's affine quantization and back: w = scale * q + bias in groups along a row.

    The end of the group's range that is larger in size is met exactly, and so is zero, as in `mx.quantize`.
    """
    groups = round_to(weight, dtype).reshape(-1, group_size)
    levels = np.float32(2**bits - 1)
    low, high = groups.min(axis=1, keepdims=True), groups.max(axis=1, keepdims=True)
    low_is_larger = np.abs(low) > np.abs(high)
    scale = np.maximum((high - low) / levels, np.float32(1e-7))
    scale = np.where(low_is_larger, scale, -scale)
    edge = np.where(low_is_larger, low, high)
    zero_level = np.rint(edge / scale)
    at_zero = zero_level == 0
    scale = np.where(at_zero, scale, edge / np.where(at_zero, np.float32(1.0), zero_level))
    bias = np.where(at_zero, np.float32(0.0), edge)
    quantized = np.clip(np.rint((groups - bias) / scale), 0, levels)
    restored = quantized * round_to(scale, dtype) + round_to(bias, dtype)
    return round_to(restored.astype(np.float32), dtype).reshape(weight.shape)


def unpack_mlx(packed: np.ndarray, scales: np.ndarray, biases: np.ndarray, bits: int, group_size: int) -> np.ndarray:
    """Dequantize a stored MLX tensor: `packed` (out, in*bits/32) uint32, `scales` and `biases` (out, in/group)."""
    if 32 % bits:
        raise ValueError(f"{bits}-bit MLX weights are not packed in whole words; supported are 2, 4 and 8 bits")
    shifts = np.arange(0, 32, bits, dtype=np.uint32)
    levels = ((packed[..., None] >> shifts) & np.uint32(2**bits - 1)).astype(np.float32)
    levels = levels.reshape(packed.shape[0], -1, group_size)
    restored: np.ndarray = levels * scales[..., None] + biases[..., None]
    return restored.reshape(packed.shape[0], -1)
