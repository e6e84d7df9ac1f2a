"""A model's shape without its weights: what budget and plan need to answer before anything is downloaded.

Knows where models may lie on this machine; never fetches weights.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from common.errors import ModelError
from common.model.architecture import ModelShape, read_shape, shape_from_config
from common.model.models import cache_directory, hub_reachable, named_model
from common.model.presets import PRESETS, preset_shape


@dataclass(frozen=True)
class KnownModel:
    """A model as far as it can be known without its weights.

    directory  where its files lie on this machine, None where they do not
    source     where the shape came from, for a person
    """

    name: str
    shape: ModelShape
    directory: Path | None
    source: str


def find_known_model(name: str) -> KnownModel:
    """Shape from a local directory, the local cache, a preset, or the config.json of a Hub model, in this order.

    Raises ModelError that names the presets when there is no such model.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return KnownModel(name, read_shape(path), path, str(path))
    preset = named_model(name)
    hub_id = preset.hub_id if preset else name
    directory = cached_directory(hub_id)
    if directory is not None:
        return KnownModel(name, read_shape(directory), directory, f"{hub_id} on this machine")
    if preset is not None:
        shape = preset_shape(name)
        assert shape is not None
        return KnownModel(name, shape, None, f"preset {preset.name}, not downloaded yet")
    return KnownModel(name, _shape_from_hub(hub_id), None, f"{hub_id} on the Hub, not downloaded yet")


def cached_directory(hub_id: str) -> Path | None:
    """The directory of a model that is complete on this machine, without asking the network."""
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(hub_id, "config.json")
    except ValueError:  # not a valid Hub id; the look-up on the Hub says so
        return None
    if isinstance(found, str) and any(Path(found).parent.glob("*.safetensors")):
        return Path(found).parent
    packaged = cache_directory() / "smollm2-135m-instruct-q4_1"
    if hub_id == PRESETS["smollm2-135m"].hub_id and (packaged / "config.json").is_file():
        return packaged
    return None


def _shape_from_hub(hub_id: str) -> ModelShape:
    remedy = f"use a preset ({', '.join(PRESETS)}) or a local directory"
    if not hub_reachable():
        raise ModelError(f"model {hub_id} is not on this machine and the Hub cannot be reached; {remedy}")
    from huggingface_hub import hf_hub_download

    try:
        path = hf_hub_download(hub_id, "config.json")
        config = json.loads(Path(path).read_text(encoding="utf-8"))
    except Exception as error:  # the client raises many kinds; whichever it is, the remedy is the same
        reason = str(error).splitlines()[0]
        raise ModelError(f"model {hub_id}: its config.json cannot be read from the Hub ({reason}); {remedy}") from None
    return shape_from_config(config, f"{hub_id}/config.json")
