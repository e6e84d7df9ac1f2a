"""Whether this machine can train, and what to mend if not: one finding after the other, each with its remedy.

Knows nothing of how findings are shown, nor of what makes a library good (`common.doctor.libraries`).
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common.budget.devices import Device, this_device
from common.doctor.libraries import PACKAGES, Finding, Level, check_library, check_versions, installed_versions
from common.engine import REQUIRED_MODULES, choose_engine
from common.errors import EngineError
from common.model.models import cache_directory, hub_offline, hub_reachable
from common.model.presets import PRESETS
from common.text.amounts import bytes_text

LEAST_FREE_DISK = 5 * 2**30
LEAST_FOR_A_RUN = 256 * 2**20  # two checkpoints of a small adapter and the results


@dataclass(frozen=True)
class Diagnosis:
    """Everything that was found. `engine` is empty where none can be used."""

    engine: str
    why: str
    device: Device
    findings: tuple[Finding, ...]

    @property
    def healthy(self) -> bool:
        return all(finding.level != "fail" for finding in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return {
            "can_train": self.healthy,
            "engine": self.engine or None,
            "why": self.why,
            "device": asdict(self.device),
            "findings": [asdict(finding) for finding in self.findings],
        }


def diagnose(requested: str = "auto") -> Diagnosis:
    """Look at everything. Raises EngineError only for an engine name that does not exist."""
    findings: list[Finding] = []
    engine, why = "", ""
    try:
        engine, why = choose_engine(requested)
        findings.append(Finding("engine", "ok", f"{engine}: {why}"))
    except EngineError as error:
        if requested not in ("auto", *REQUIRED_MODULES):
            raise
        why = str(error)
        remedy = why.rsplit("Install them with: ", 1)[-1]
        findings.append(Finding("engine", "fail", why.split(". ")[0], remedy))
    device = this_device(requested if requested != "auto" else engine or "auto")
    findings.append(Finding("device", "ok", f"{device.title}; training may use {bytes_text(device.usable_bytes)}"))
    if engine:
        versions = installed_versions(PACKAGES[engine])
        findings += check_versions(versions)
        findings += check_library(engine, versions)
    findings += [check_import_name(), check_python(), *check_hub(), *check_disk(), check_models()]
    return Diagnosis(engine, why, device, tuple(findings))


def check_import_name() -> Finding:
    """Whether `common`, a name others use too, is ours in every place Python looks."""
    spec = importlib.util.find_spec("common")
    ours = Path(__file__).resolve().parents[1]
    found = [Path(place).resolve() for place in (spec.submodule_search_locations or [])] if spec else []
    if found and found[0] == ours:
        return Finding("import name", "ok", f"`common` is sumkit's ({ours})")
    where = found[0] if found else "nowhere"
    remedy = "start sumkit from another directory, or uninstall the package that brings its own `common`"
    return Finding("import name", "fail", f"`import common` finds {where}, not sumkit's {ours}", remedy)


def check_python() -> Finding:
    """The interpreter and the system."""
    version, system = platform.python_version(), f"{platform.system()} {platform.release()} {platform.machine()}"
    if (3, 11) <= sys.version_info[:2] < (3, 15):
        return Finding("python", "ok", f"{version} on {system}")
    return Finding("python", "fail", f"{version} on {system}", "use Python 3.11 to 3.14")


def check_hub() -> list[Finding]:
    """Whether models can be downloaded."""
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    if hub_offline():
        return [Finding("hub", "warn", "offline by HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE", "unset it to download")]
    if hub_reachable(2.0):
        return [Finding("hub", "ok", f"{endpoint} answers")]
    remedy = "models that are here, local directories and smollm2-135m still work"
    return [Finding("hub", "warn", f"{endpoint} cannot be reached", remedy)]


def check_disk() -> list[Finding]:
    """Room for runs here and for models in the cache, and what the cache holds already."""
    findings = []
    for name, path in (("disk for runs", Path.cwd()), ("disk for models", hub_cache())):
        existing = next(place for place in (path, *path.parents) if place.exists())
        free = shutil.disk_usage(existing).free
        short = free < LEAST_FREE_DISK
        remedy = "free some space, or point HF_HOME and --run to another disk" if short else ""
        level: Level = "fail" if name == "disk for runs" and free < LEAST_FOR_A_RUN else "warn" if short else "ok"
        findings.append(Finding(name, level, f"{bytes_text(free)} free at {path}", remedy))
    sizes = [directory_bytes(place) for place in (hub_cache(), cache_directory())]
    detail = f"{bytes_text(sizes[0])} in {hub_cache()}, {bytes_text(sizes[1])} in {cache_directory()}"
    return [*findings, Finding("cache", "ok", detail)]


def check_models() -> Finding:
    """Presets whose files are on this machine already."""
    from common.budget.known_model import cached_directory

    present = [name for name, preset in PRESETS.items() if cached_directory(preset.hub_id)]
    return Finding("models here", "ok", ", ".join(present) if present else "none of the presets yet")


def hub_cache() -> Path:
    """Where the Hub's client keeps models."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


def directory_bytes(path: Path) -> int:
    """Size of all regular files below a directory, links not followed; 0 where there is none."""
    total = 0
    for place, _, files in os.walk(path):
        for name in files:
            file = os.path.join(place, name)
            if not os.path.islink(file):
                total += os.path.getsize(file)
    return total
