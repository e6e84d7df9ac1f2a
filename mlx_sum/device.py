"""The device MLX runs on: which one, what it computes in, and how much memory was taken. Knows no models."""

from __future__ import annotations

import os
import platform

import mlx.core as mx

from common.types import DeviceInfo

DTYPES: dict[str, mx.Dtype] = {"float32": mx.float32, "bfloat16": mx.bfloat16, "float16": mx.float16}


def pick_device() -> str:
    """Make the GPU the default device where MLX has one, else the CPU. Returns `metal`, `cuda` or `cpu`."""
    if mx.metal.is_available():
        mx.set_default_device(mx.gpu)
        _limit_metal_memory()
        return "metal"
    if mx.is_available(mx.gpu):
        mx.set_default_device(mx.gpu)
        return "cuda"
    mx.set_default_device(mx.cpu)
    return "cpu"


def _limit_metal_memory() -> None:
    """Wire the memory that Metal recommends, so that macOS does not page the model out between steps, and bound what
    MLX keeps of freed buffers: batches of many shapes would otherwise fill the machine with them.
    """
    recommended = int(mx.device_info().get("max_recommended_working_set_size", 0))
    if recommended:
        mx.set_wired_limit(recommended)
        mx.set_cache_limit(recommended // 8)


def compute_dtype(requested: str, kind: str) -> mx.Dtype:
    """The dtype that activations and unquantized weights have: bfloat16 on a GPU unless another is asked for.

    On the CPU float32 is faster (MLX has no 16-bit matrix product there).
    """
    if requested != "auto":
        return DTYPES[requested]
    return mx.float32 if kind == "cpu" else mx.bfloat16


def dtype_name(dtype: mx.Dtype) -> str:
    """`float32`, `bfloat16` or `float16`."""
    return str(dtype).removeprefix("mlx.core.")


def device_info(kind: str, dtype: mx.Dtype) -> DeviceInfo:
    """What `sumkit` prints and stores about the device."""
    facts = mx.device_info()
    memory = facts.get("max_recommended_working_set_size") or facts.get("memory_size") or _physical_memory()
    name = str(facts.get("device_name") or platform.processor() or platform.machine())
    return DeviceInfo(kind=kind, name=name, memory_bytes=int(memory), compute_dtype=dtype_name(dtype))


def _physical_memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 0


def peak_memory_bytes() -> int:
    """Most memory MLX's allocator held at once since `reset_peak_memory`."""
    return int(mx.get_peak_memory())


def reset_peak_memory() -> None:
    """Start measuring anew, without the buffers that MLX keeps for reuse."""
    mx.clear_cache()
    mx.reset_peak_memory()
