"""Run directories made without training: a tiny real model and an adapter of random weights that changes its output."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from common import config
from common.data.prompts import find_template
from common.model.adapter import initial_adapter, write_adapter
from common.model.models import resolve_model
from common.run.directory import RunDirectory, write_settings
from common.run.preparation import lora_spec
from tests.tiny_models import build_tiny_model, build_tiny_tokenizer

MAX_LENGTH = 160
NEW_TOKENS = 20


def build_tiny_base(directory: Path, chat: bool = False) -> Path:
    """A qwen2-shaped model of two layers with its tokenizer."""
    build_tiny_model(directory, "qwen2")
    return build_tiny_tokenizer(directory, chat=chat)


def build_tiny_run(
    directory: Path, model: Path, seed: int = 0, template: str = "direct", rank: int = 4, dtype: str = "auto"
) -> Path:
    """A run of `model` that can summarize; runs of different seeds write different texts."""
    flags = {
        "model": str(model),
        "template": template,
        "quantize": "none",
        "dtype": dtype,
        "rank": rank,
        "alpha": 8.0,
        "max_length": MAX_LENGTH,
        "max_summary_tokens": 32,
        "max_new_tokens": NEW_TOKENS,
        "seed": seed,
    }
    settings = config.resolve(config.from_flags(flags))
    run = RunDirectory(directory)
    run.path.mkdir(parents=True)
    write_settings(run, settings, find_template(template))
    lora = lora_spec(settings)
    generator = np.random.default_rng(seed)
    start = initial_adapter(resolve_model(str(model)).shape, lora)
    weights = {name: value + generator.normal(0, 0.05, value.shape).astype(np.float32) for name, value in start.items()}
    write_adapter(run.adapter, weights, lora, str(model))
    return directory
