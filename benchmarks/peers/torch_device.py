"""The device of a side that runs on torch: waiting for it, its peak memory, and attention as older GPUs have it.

Needs torch, and nothing of sumkit's: peers' environments import it too.
"""

from __future__ import annotations

from typing import Any

import torch

try:
    from resident_memory import peak_bytes, reset_peak
except ImportError:  # as part of this repository
    from benchmarks.peers.resident_memory import peak_bytes, reset_peak


def settle() -> None:
    """Wait until the device has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def start_peak() -> None:
    """Measure the peak anew: of the GPU's allocator, on a CPU of the process's resident memory."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    else:
        reset_peak()


def peak() -> int:
    """Most bytes at once since `start_peak`."""
    return int(torch.cuda.max_memory_allocated()) if torch.cuda.is_available() else peak_bytes()


def give_memory_back() -> None:
    """Return the allocator's unused memory, so that the next side's turn has it."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def attend_as_on_a_t4() -> None:
    """Leave torch the attention kernels that compute capability 7.5 has: the memory-efficient one and the plain one."""
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_cudnn_sdp(False)


def matmul_rate(dtype: str, size: int, repeats: int = 10) -> float:
    """FLOPs a second of a product of two random (size, size) matrices, the median of `repeats`."""
    import time

    device = "cuda" if torch.cuda.is_available() else "cpu"
    left, right = (torch.randn(size, size, device=device, dtype=getattr(torch, dtype)) for _ in range(2))
    seconds = []
    for turn in range(repeats + 3):
        settle()
        began = time.perf_counter()
        left @ right
        settle()
        if turn >= 3:
            seconds.append(time.perf_counter() - began)
    return 2.0 * size**3 / sorted(seconds)[len(seconds) // 2]


def device_facts() -> dict[str, Any]:
    """Name, memory, compute capability and driver of the GPU; empty on a CPU."""
    if not torch.cuda.is_available():
        return {}
    properties = torch.cuda.get_device_properties(0)
    return {
        "name": properties.name,
        "memory_bytes": int(properties.total_memory),
        "capability": f"{properties.major}.{properties.minor}",
        "cuda": torch.version.cuda,
        "torch": torch.__version__,
    }
