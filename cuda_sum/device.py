"""The device torch runs on: which one, what it computes in, and how much memory was taken. Knows no models."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from pathlib import Path

import psutil
import torch

from common.engine_base.sizes import BFLOAT16_CAPABILITY
from common.types import DeviceInfo

KEPT_PRODUCTS = 64  # compiled products that oneDNN keeps: enough for one batch's to stay, and no more
DTYPES: dict[str, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def limit_kept_products() -> None:
    """Let oneDNN, and torch's layer over it, keep few compiled products, not those of 1,024 shapes each, some 40 MB for
    each width of a batch. Read when the process computes its first product; what the environment says already wins.
    """
    for variable in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        os.environ.setdefault(variable, str(KEPT_PRODUCTS))


def pick_device() -> torch.device:
    """The NVIDIA GPU of this process (torchrun's LOCAL_RANK where set), else the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    torch.cuda.set_device(device)
    return device


def compute_dtype(requested: str, device: torch.device) -> torch.dtype:
    """The dtype that activations and unquantized weights have.

    `auto` is bfloat16 on GPUs of compute capability 8.0 and later and float16 before; on a CPU bfloat16 where it
    has instructions for it and float32 otherwise: without them bfloat16 products are several times slower.
    """
    if requested != "auto":
        return DTYPES[requested]
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        return torch.bfloat16 if major + minor / 10 >= BFLOAT16_CAPABILITY else torch.float16
    return torch.bfloat16 if cpu_multiplies_bfloat16() else torch.float32


def cpu_multiplies_bfloat16() -> bool:
    """Whether the CPU has AVX-512 BF16 or AMX tiles."""
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, check)() for check in checks if hasattr(torch.cpu, check))


def dtype_name(dtype: torch.dtype) -> str:
    """`float32`, `bfloat16` or `float16`."""
    return str(dtype).removeprefix("torch.")


def device_info(device: torch.device, dtype: torch.dtype) -> DeviceInfo:
    """What `sumkit` prints and stores about the device."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return DeviceInfo("cuda", properties.name, int(properties.total_memory), dtype_name(dtype))
    return DeviceInfo("cpu", _cpu_name(), int(psutil.virtual_memory().total), dtype_name(dtype))


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or platform.machine()} ({os.cpu_count()} cores)"


def peak_memory_bytes(device: torch.device) -> int:
    """Most memory held at once since `reset_peak_memory`: the GPU allocator's, on a CPU the process's resident set."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if sys.platform == "linux":
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    info = psutil.Process().memory_info()
    return int(getattr(info, "peak_wset", info.rss))


def reset_peak_memory(device: torch.device) -> None:
    """Start measuring anew. On CPUs other than Linux's, where the system keeps the peak, this does nothing."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif sys.platform == "linux" and os.access("/proc/self/clear_refs", os.W_OK):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def send(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A CPU tensor on `device`; a GPU gets it in its turn, while the caller goes on: from ordinary memory, which the
    system may move, torch waits until all that was queued before is done."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values


def synchronize(device: torch.device) -> None:
    """Wait until everything that was queued on the device is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def return_freed_memory() -> None:
    """Let the C library give freed host memory back to the system, where it has a call for that (glibc)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)


def free_memory_bytes(device: torch.device) -> int:
    """Memory that can still be taken, the allocator's unused blocks included."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + int(unused)
    return int(psutil.virtual_memory().available)
