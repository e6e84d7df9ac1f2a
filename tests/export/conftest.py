"""Run directories made by hand: a tiny real model, an adapter with an effect, and the settings around them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.data.prompts import find_template
from common.engine import LoraSpec
from common.model.adapter import adapted_linears, initial_adapter, magnitude_name, write_adapter
from common.model.architecture import read_shape
from common.model.token_rows import token_row_shapes
from common.model.tokenizer import load_tokenizer
from common.run.directory import RunDirectory, write_settings
from common.settings import DataSettings, GenerationSettings, LoraSettings, ModelSettings, PromptSettings, RunConfig
from tests.tiny_models import VOCAB_SIZE, build_tiny_model, build_tiny_tokenizer

MakeRun = Callable[..., Path]


def adapter_with_effect(model_dir: Path, lora: LoraSpec, size: float, seed: int = 7) -> dict[str, np.ndarray]:
    """Starting values with B drawn at random, so that the adapter changes every adapted layer."""
    shape = read_shape(model_dir)
    weights = initial_adapter(shape, lora)
    generator = np.random.default_rng(seed)
    weights |= {name: np.zeros(size, np.float32) for name, size in token_row_shapes(shape, lora).items()}
    lengths = {
        magnitude_name(linear.path): generator.uniform(0.5, 2.0, linear.out_features).astype(np.float32)
        for linear in (adapted_linears(shape, lora) if lora.dora else ())
    }
    return lengths | {
        name: value if "lora_A" in name else generator.normal(0.0, size, value.shape).astype(np.float32)
        for name, value in weights.items()
    }


def hub_spelling(model_dir: Path) -> None:
    """Settings as models on the Hub spell them: rotary settings at the top level, where mlx-lm reads them."""
    path = model_dir / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    rope = config.get("rope_parameters") or {}
    config |= {key: rope[key] for key in ("rope_theta", "partial_rotary_factor") if key in rope}
    path.write_text(json.dumps(config), encoding="utf-8")


@pytest.fixture(scope="session")
def make_run(tmp_path_factory: pytest.TempPathFactory) -> MakeRun:
    """`make_run(architecture, template="simple", quantize="none", engine="cuda", …)` gives a run directory."""

    def make(
        architecture: str,
        template: str = "simple",
        quantize: Any = "none",
        engine: Any = "cuda",
        chat: bool = False,
        size: float = 0.1,
        lora: LoraSpec | None = None,
        on_hub: bool = True,
        added_tokens: str = "",
        vocab_size: int = VOCAB_SIZE,
    ) -> Path:
        root = tmp_path_factory.mktemp(f"{architecture}-run")
        model_dir = build_tiny_model(root / "base", architecture, vocab_size=vocab_size)
        build_tiny_tokenizer(model_dir, chat=chat)
        if on_hub:
            hub_spelling(model_dir)
        ids = load_tokenizer(model_dir, added_tokens).added_ids
        lora = dataclasses.replace(lora or LoraSpec(rank=4, alpha=8.0), token_ids=ids)
        run = RunDirectory(root / "runs" / "notes")
        run.path.mkdir(parents=True)
        config = RunConfig(
            data=DataSettings(data="demo"),
            prompt=PromptSettings(template=template, max_length=400),
            model=ModelSettings(model=str(model_dir), quantize=quantize, dtype="float32"),
            generation=GenerationSettings(max_new_tokens=12),
        )
        config = dataclasses.replace(config, output=dataclasses.replace(config.output, engine=engine))
        settings = LoraSettings(rank=lora.rank, alpha=lora.alpha, dora=lora.dora, added_tokens=added_tokens)
        write_settings(run, dataclasses.replace(config, lora=settings), find_template(template))
        write_adapter(run.adapter, adapter_with_effect(model_dir, lora, size), lora, str(model_dir))
        environment = {"engine": engine, "device": {"compute_dtype": "float32"}}
        run.environment.write_text(json.dumps(environment), encoding="utf-8")
        return run.path

    return make
