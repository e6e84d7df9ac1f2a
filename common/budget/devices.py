"""The devices a plan can be made for: their memory, how much of it training may use, and how fast they are.

Memory and speed are the makers' figures; the share of peak speed that training reaches is an estimate until a probe
has measured it. Imports neither mlx nor torch, so that a plan for another machine needs neither.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common.engine import EngineName, is_apple_silicon
from common.engine_base.sizes import BFLOAT16_CAPABILITY
from common.errors import UsageError
from common.nearest import did_you_mean

Kind = Literal["cuda", "metal", "cpu"]
GIB = 2**30

# Metal's recommended working set: two thirds of the memory of a Mac, three quarters from 36 GB on (newer systems
# recommend a little more).
MAC_SHARE_SMALL, MAC_SHARE_LARGE, MAC_LARGE_BYTES = 2 / 3, 3 / 4, 36 * GIB
# MLX's own figure of 475 tokens a second for LoRA on a 7B model and an M2 Ultra is 35 % of that GPU's peak.
MAC_EFFICIENCY = 0.35
# Of the memory that is free now, what a run on the CPU may take before the machine starts to swap.
CPU_SHARE = 0.85


@dataclass(frozen=True)
class Device:
    """A device as a plan sees it.

    memory_bytes     what the device has
    usable_bytes     what training may take: all of a GPU's own memory, a share of unified or main memory
    compute_bytes    bytes of a number in the compute dtype: 2 for bfloat16 and float16, 4 for float32
    flops_per_second peak of dense 16-bit products (float32 on a CPU), 0 where unknown
    efficiency       share of that peak which LoRA training reaches (an estimate)
    float16          computes in float16, because bfloat16 is not real there
    float32_flops_per_second  peak of dense float32 products, 0 where that is the other one
    """

    name: str
    title: str
    kind: Kind
    engine: EngineName
    memory_bytes: int
    usable_bytes: int
    compute_bytes: int
    flops_per_second: float
    efficiency: float
    float16: bool = False
    float32_flops_per_second: float = 0.0


def _nvidia(
    name: str, title: str, mebibytes: int, teraflops: float, efficiency: float, float32: float, float16: bool = False
) -> Device:
    size = mebibytes * 2**20
    rates = (teraflops * 1e12, efficiency, float16, float32 * 1e12)
    return Device(name, title, "cuda", "cuda", size, size, 2, *rates)


def _mac(name: str, title: str, gigabytes: int, teraflops: float) -> Device:
    size = gigabytes * GIB
    return Device(name, title, "metal", "mlx", size, usable_mac_bytes(size), 2, teraflops * 1e12, MAC_EFFICIENCY)


def usable_mac_bytes(memory_bytes: int) -> int:
    """The share of unified memory that the GPU of a Mac may use."""
    share = MAC_SHARE_LARGE if memory_bytes >= MAC_LARGE_BYTES else MAC_SHARE_SMALL
    return int(memory_bytes * share)


# Memory as the driver reports it; speed from NVIDIA's data sheets (dense 16 bit; float32 last) and, for Macs, GPU
# cores x 128 multiply-adds x clock of the smallest chip sold with that memory (float16 runs no faster there).
DEVICES: dict[str, Device] = {
    device.name: device
    for device in (
        _nvidia("t4", "NVIDIA T4, 15 GB (float16 only)", 15_360, 65, 0.15, 8.1, float16=True),
        _nvidia("l4", "NVIDIA L4, 24 GB", 23_034, 121, 0.3, 30.3),
        _nvidia("a10", "NVIDIA A10, 24 GB", 23_028, 125, 0.3, 31.2),
        _nvidia("a100-40", "NVIDIA A100, 40 GB", 40_536, 312, 0.35, 19.5),
        _nvidia("a100-80", "NVIDIA A100, 80 GB", 81_050, 312, 0.35, 19.5),
        _nvidia("h100", "NVIDIA H100, 80 GB", 81_079, 989, 0.25, 66.9),
        _nvidia("h200", "NVIDIA H200, 141 GB", 143_167, 989, 0.25, 66.9),
        _mac("m1-8gb", "Apple M1, 8 GB", 8, 2.6),
        _mac("m1-16gb", "Apple M1, 16 GB", 16, 2.6),
        _mac("m2-24gb", "Apple M2, 24 GB", 24, 3.6),
        _mac("m3-36gb", "Apple M3 Pro, 36 GB", 36, 6.4),
        _mac("m4-64gb", "Apple M4 Pro, 64 GB", 64, 8.1),
        _mac("m4-128gb", "Apple M4 Max, 128 GB", 128, 17.2),
    )
}


def find_device(name: str, engine: str = "auto") -> Device:
    """A device by name; `auto` is this machine's. Raises UsageError that lists the names."""
    if name == "auto":
        return this_device(engine)
    if name not in DEVICES:
        raise UsageError(
            f"device {name!r} is unknown{did_you_mean(name, DEVICES)}\nchoose auto or one of {', '.join(DEVICES)}"
        )
    return DEVICES[name]


def this_device(engine: str = "auto") -> Device:
    """The device that training would use here, without importing an engine."""
    if is_apple_silicon() and engine != "cuda":
        size = _command_number("sysctl", "-n", "hw.memsize") or _physical_memory()
        chip = _command_text("sysctl", "-n", "machdep.cpu.brand_string") or "Apple silicon"
        known = [device for device in DEVICES.values() if chip.startswith(device.title.split(",")[0])]
        speed = known[0].flops_per_second if known else 0.0
        return Device(
            "auto", f"{chip}, {size // GIB} GB", "metal", "mlx", size, usable_mac_bytes(size), 2, speed, MAC_EFFICIENCY
        )
    gpu = None if engine == "mlx" else _nvidia_gpu()
    return gpu or _this_cpu("mlx" if engine == "mlx" else "cuda")


def _nvidia_gpu() -> Device | None:
    if not shutil.which("nvidia-smi"):
        return None
    query = "--query-gpu=name,memory.total,compute_cap"
    line = (_command_text("nvidia-smi", query, "--format=csv,noheader,nounits") or "").splitlines()
    if not line or line[0].count(",") < 2:
        return None
    name, mebibytes, capability = (part.strip() for part in line[0].rsplit(",", 2))
    float16 = float(capability) < BFLOAT16_CAPABILITY
    size = int(float(mebibytes)) * 2**20
    likely = [
        d for d in DEVICES.values() if d.kind == "cuda" and d.name.split("-")[0] in re.split(r"[ -]", name.lower())
    ]
    nearest = min(likely, key=lambda d: abs(d.memory_bytes - size)) if likely else None
    if nearest:
        return dataclasses.replace(
            nearest, name="auto", title=name, memory_bytes=size, usable_bytes=size, float16=float16
        )
    return Device("auto", name, "cuda", "cuda", size, size, 2, 0.0, 0.3, float16)


def _this_cpu(engine: EngineName) -> Device:
    import psutil

    memory = psutil.virtual_memory()
    title = f"CPU with {os.cpu_count()} cores, {memory.total / GIB:.0f} GB ({platform.machine()})"
    size = 2 if engine == "cuda" and _cpu_multiplies_bfloat16() else 4
    return Device("auto", title, "cpu", engine, memory.total, int(memory.available * CPU_SHARE), size, 0.0, 0.0)


def _cpu_multiplies_bfloat16() -> bool:
    """Whether the processor has the instructions with which the torch engine computes in bfloat16."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_tile" in flags


def _physical_memory() -> int:
    import psutil

    return int(psutil.virtual_memory().total)


def _command_text(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _command_number(*command: str) -> int:
    text = _command_text(*command)
    return int(text) if text.isdigit() else 0
