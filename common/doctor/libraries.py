"""The libraries an engine stands on: versions, combinations known to be bad, and whether they work here.

Versions are read from metadata; whether a library works is asked in a process of its own, so that a broken one can
neither end nor slow this one for good. Knows nothing of the rest of the machine.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from common.engine_base.sizes import BFLOAT16_CAPABILITY

Level = Literal["ok", "warn", "fail"]

# Distributions that matter to each engine, in the order a person would look at them.
PACKAGES = {
    "mlx": ("mlx", "mlx-lm", "transformers", "tokenizers", "safetensors", "numpy"),
    "cuda": ("torch", "transformers", "peft", "bitsandbytes", "triton", "tokenizers", "safetensors", "numpy"),
}
# Oldest and newest versions that the tests ran with; of transformers and mlx-lm the engines take inner parts, which
# change from one minor version to the next.
OLDEST = {
    "mlx": "0.32",
    "mlx-lm": "0.32",
    "torch": "2.9",
    "transformers": "5.12",
    "peft": "0.18",
    "bitsandbytes": "0.50",
}
NEWEST = {"mlx": "0.32", "mlx-lm": "0.32", "transformers": "5.24"}


@dataclass(frozen=True)
class BadPair:
    """Two versions that fail together: `first` below `first_below` while `second` is at least `second_from`.

    `second` may be CUDA, the version torch was built for.
    """

    first: str
    first_below: str
    second: str
    second_from: str
    problem: str


KNOWN_BAD = (
    BadPair("peft", "0.18", "transformers", "5", "peft imports what transformers 5 removed"),
    BadPair("bitsandbytes", "0.45.3", "CUDA", "12.8", "it has no compiled code for CUDA 12.8"),
    BadPair("bitsandbytes", "0.48", "CUDA", "13", "it has no compiled code for CUDA 13"),
)
PROBE_SECONDS = 120


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `remedy` says what to do where the level is not `ok`."""

    name: str
    level: Level
    detail: str
    remedy: str = ""


def installed_versions(names: tuple[str, ...]) -> dict[str, str]:
    """Versions of the distributions that are there."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def version_key(version: str) -> tuple[int, ...]:
    """`2.13.0+cpu` as (2, 13, 0): the leading numbers, for comparing."""
    parts = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in parts.group().split(".")) if parts else (0,)


def check_versions(versions: dict[str, str]) -> list[Finding]:
    """Libraries that are older than what the engines need, or of a series they were not tested with."""
    findings = [Finding("libraries", "ok", ", ".join(f"{name} {version}" for name, version in versions.items()))]
    for name, version in versions.items():
        oldest, newest = OLDEST.get(name), NEWEST.get(name)
        if oldest and version_key(version) < version_key(oldest):
            remedy = f"pip install --upgrade '{name}>={oldest}'"
            findings.append(Finding(name, "fail", f"{name} {version} is older than {oldest}", remedy))
        elif newest and version_key(version)[:2] > version_key(newest):
            remedy = f"if training misbehaves: pip install '{name}=={newest}.*'"
            findings.append(Finding(name, "warn", f"{name} {version} was not tested, {newest} was", remedy))
    return findings


def check_pairs(versions: Mapping[str, str]) -> list[Finding]:
    """Combinations known to fail, among distributions and, under the name CUDA, torch's CUDA version."""
    findings = []
    for bad in KNOWN_BAD:
        first, second = versions.get(bad.first, ""), versions.get(bad.second, "")
        old, new = (
            version_key(first) < version_key(bad.first_below),
            version_key(second) >= version_key(bad.second_from),
        )
        if first and second and old and new:
            detail = f"{bad.first} {first} does not work with {bad.second} {second}: {bad.problem}"
            remedy = f"pip install --upgrade '{bad.first}>={bad.first_below}'"
            findings.append(Finding(bad.first, "fail", detail, remedy))
    return findings


def check_library(engine: str, versions: dict[str, str]) -> list[Finding]:
    """What the engine's library says of itself and of the device, asked in a process of its own."""
    facts = _ask({"mlx": _MLX_PROBE, "cuda": _TORCH_PROBE}[engine])
    if "error" in facts:
        packages = " ".join({"mlx": ("mlx", "mlx-lm"), "cuda": ("torch", "transformers", "peft")}[engine])
        remedy = f"pip install --upgrade --force-reinstall {packages}"
        broken = Finding("library", "fail", f"the {engine} engine's library does not work: {facts['error']}", remedy)
        return [*check_pairs(versions), broken]
    if engine == "mlx":
        return [*check_pairs(versions), *judge_mlx(facts)]
    cuda = {"CUDA": facts["cuda"]} if facts["gpu"] and facts["cuda"] else {}
    return [*check_pairs({**versions, **cuda}), *judge_torch(facts, versions)]


def judge_mlx(facts: dict[str, Any]) -> list[Finding]:
    """Findings from what MLX said of its device."""
    if facts["metal"]:
        return [Finding("bfloat16", "ok", "real on this GPU"), Finding("metal", "ok", "Metal answers")]
    where = "CUDA" if facts["gpu"] else "the CPU only"
    findings = [Finding("metal", "warn", f"no Metal here: MLX runs on {where}", "use a Mac with Apple silicon")]
    if not facts["gpu"]:
        findings.append(Finding("bfloat16", "ok", "MLX has no 16-bit products on a CPU, float32 is used"))
        findings.append(
            Finding("speed", "warn", "MLX on a CPU is about 20 times slower than torch there", "use --engine cuda")
        )
    return findings


def judge_torch(facts: dict[str, Any], versions: dict[str, str]) -> list[Finding]:
    """Findings from what torch and bitsandbytes said of themselves and of the GPU."""
    findings = []
    if facts["gpu"]:
        real = facts["capability"] >= BFLOAT16_CAPABILITY
        detail = f"{facts['gpu']}, compute capability {facts['capability']}, driver {facts['driver'] or 'unknown'}"
        findings.append(Finding("gpu", "ok", f"{detail}, torch built for CUDA {facts['cuda']}"))
        said = "" if real else " (torch says it is supported: that is emulation)"
        findings.append(
            Finding("bfloat16", "ok", "real on this GPU")
            if real
            else Finding(
                "bfloat16", "warn", f"not real on this GPU{said}", "nothing to do: float16 with scaling is used"
            )
        )
        if not real and "triton" in versions:
            findings.append(
                Finding("triton", "warn", f"triton {versions['triton']} has no bfloat16 on this GPU", "avoid --compile")
            )
    elif _nvidia_driver_present():
        remedy = "install a torch built for your driver: https://pytorch.org/get-started/locally"
        built = f"built for CUDA {facts['cuda']}" if facts["cuda"] else "built without CUDA"
        findings.append(Finding("gpu", "fail", f"there is an NVIDIA driver, but torch ({built}) sees no GPU", remedy))
    else:
        detail = f"no NVIDIA GPU; torch on {os.cpu_count()} CPU cores"
        findings.append(Finding("gpu", "warn", detail, "fine for models up to about 0.5 B; a GPU is far faster"))
        findings.append(
            Finding("bfloat16", "ok", "real on this CPU" if facts["cpu_bf16"] else "emulated here, float32 is used")
        )
    if facts["bitsandbytes"] != "ok":
        remedy = "pip install --upgrade bitsandbytes, or train with --quantize none"
        findings.append(Finding("bitsandbytes", "warn", f"does not work ({facts['bitsandbytes']})", remedy))
    else:
        findings.append(
            Finding("bitsandbytes", "ok", f"4-bit product works on {'the GPU' if facts['gpu'] else 'the CPU'}")
        )
    return findings


def _nvidia_driver_present() -> bool:
    return bool(shutil.which("nvidia-smi")) or Path("/proc/driver/nvidia/version").exists()


def _ask(code: str) -> dict[str, Any]:
    """Run a probe in a process of its own; its last line is JSON. A crash or a hang becomes {"error": …}."""
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PROBE_SECONDS)
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {PROBE_SECONDS} s"}
    lines = done.stdout.strip().splitlines()
    if done.returncode == 0 and lines:
        answer: dict[str, Any] = json.loads(lines[-1])
        return answer
    said = done.stderr.strip().splitlines()
    return {"error": said[-1] if said else f"its process ended with status {done.returncode}"}


_MLX_PROBE = """
import json
import mlx.core as mx
import mlx_lm
(mx.ones((8, 8)) @ mx.ones((8, 8))).sum().item()
metal = mx.metal.is_available()
print(json.dumps({"metal": metal, "gpu": metal or mx.is_available(mx.gpu)}))
"""

_TORCH_PROBE = """
import json, subprocess, sys
import torch, transformers, peft
sys.modules["kernels"] = None  # or bitsandbytes may fetch one from the Hub
gpu = torch.cuda.is_available()
facts = {"gpu": torch.cuda.get_device_name() if gpu else "", "cuda": torch.version.cuda}
facts |= {"driver": "", "capability": 0.0}
if gpu:
    facts["capability"] = float("%d.%d" % torch.cuda.get_device_capability())
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        facts["driver"] = subprocess.run(query, capture_output=True, text=True, timeout=10).stdout.strip()
    except OSError:
        pass
checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
facts["cpu_bf16"] = any(getattr(torch.cpu, check)() for check in checks if hasattr(torch.cpu, check))
try:
    import bitsandbytes.functional as bnb
    weight = torch.ones(64, 64, device="cuda" if gpu else "cpu")
    packed, state = bnb.quantize_4bit(weight, quant_type="nf4")
    close = torch.allclose(bnb.dequantize_4bit(packed, state), weight, atol=0.05)
    facts["bitsandbytes"] = "ok" if close else "wrong numbers from its 4-bit functions"
except Exception as error:
    facts["bitsandbytes"] = (str(error).strip().splitlines() or [type(error).__name__])[-1]
print(json.dumps(facts))
"""
