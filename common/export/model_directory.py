"""A merged model as a Hugging Face directory: weights, settings, tokenizer with the run's prompt as chat template.

Settings are written in both spellings, the old top-level one that mlx-lm and older transformers read, and the new.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from common.export.merge import MergedWeights
from common.export.prompt_text import jinja_template
from common.export.source import ExportOptions, ExportSource
from common.export.tensor_files import STORED_NAMES, PlannedTensor, write_tensors
from common.model.token_rows import grown_shape

TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
)  # fmt: skip
LICENCE_FILES = ("LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*")


def write_model_directory(source: ExportSource, options: ExportOptions, directory: Path) -> str:
    """Write everything but the model card, and return the weights' dtype by name."""
    weights = source.merged(options)
    dtype = merged_dtype(weights, options)
    stored = STORED_NAMES[dtype]
    planned = [PlannedTensor(name, stored, weights.shape_of(name)) for name in weights.names]
    write_tensors(directory, planned, weights.float32)
    _write_json(directory / "config.json", _model_config(source, dtype))
    _write_json(directory / "generation_config.json", _generation_config(source))
    write_tokenizer(source, directory)
    copy_licence(source, directory)
    return dtype


def merged_dtype(weights: MergedWeights, options: ExportOptions) -> str:
    """The chosen type, or by default the base's own 16-bit one (float16 for a base in float32)."""
    if options.dtype != "auto":
        return options.dtype
    types = {weights.stored_type(name) for name in weights.names}
    return "bfloat16" if "BF16" in types else "float16"


def write_tokenizer(source: ExportSource, directory: Path) -> None:
    """Copy the tokenizer; its chat template becomes the run's prompt around the user's message."""
    base = source.model.directory
    if source.tokenizer.added_ids:
        base = directory
        source.tokenizer.pretrained.save_pretrained(directory)
        (directory / "chat_template.jinja").unlink(missing_ok=True)
    for name in TOKENIZER_FILES:
        if base != directory and (base / name).is_file():
            shutil.copyfile(base / name, directory / name)
    settings: dict[str, Any] = {}
    path = base / "tokenizer_config.json"
    if path.is_file():
        settings = json.loads(path.read_text(encoding="utf-8"))
    settings["chat_template"] = jinja_template(source.prompt)
    _write_json(directory / "tokenizer_config.json", settings)


def copy_licence(source: ExportSource, directory: Path) -> None:
    """Copy the base's licence files: whoever passes merged weights on must pass them on too."""
    for pattern in LICENCE_FILES:
        for path in source.model.directory.glob(pattern):
            if path.is_file():
                shutil.copyfile(path, directory / path.name)


def _model_config(source: ExportSource, dtype: str) -> dict[str, Any]:
    shape = source.model.shape
    config = {
        key: value
        for key, value in source.base_config().items()
        if key not in ("quantization", "quantization_config", "dtype", "_name_or_path")
    }
    config["vocab_size"] = grown_shape(shape, source.adapter.lora).vocab_size
    config |= {"torch_dtype": dtype, "rope_theta": shape.rope_theta, "eos_token_id": list(source.form.eos_ids)}
    if shape.model_type == "phi":
        config["partial_rotary_factor"] = shape.partial_rotary_factor
    if shape.rope_scaling:
        config["rope_scaling"] = {key: value for key, value in shape.rope_scaling.items() if key != "rope_theta"}
    return config


def _generation_config(source: ExportSource) -> dict[str, Any]:
    """Greedy, as summaries were evaluated; a base's sampling and penalties are left behind."""
    return {
        "do_sample": False,
        "max_new_tokens": source.config.generation.max_new_tokens,
        "eos_token_id": list(source.form.eos_ids),
        "pad_token_id": source.tokenizer.pad_id,
    }


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
