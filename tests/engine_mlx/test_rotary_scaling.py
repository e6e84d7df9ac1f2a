"""Scaled rotary embeddings are those of transformers, or the model is refused (see test_model.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from mlx_sum.engine import build
from tests.contract.cases import exact_spec

SCALINGS: dict[str, dict[str, Any]] = {
    "linear": {"factor": 4.0},
    "llama3": {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    },
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 32},
}


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3", "mistral"])
@pytest.mark.parametrize("rope_type", [None, *SCALINGS])
def test_logits_equal_transformers(tmp_path: Path, architecture: str, rope_type: str | None) -> None:
    rope = {"rope_theta": 20000.0, "rope_type": rope_type or "default", **SCALINGS.get(rope_type or "", {})}
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = AutoConfig.for_model(
        architecture,
        vocab_size=90,
        num_key_value_heads=1,
        head_dim=32,
        max_position_embeddings=128,
        rope_parameters=rope,
        **sizes,
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.normal_(0, 0.25)
    model.save_pretrained(tmp_path)
    tokens = np.random.default_rng(0).integers(0, 90, (1, 100))
    with torch.no_grad():
        expected = model(torch.tensor(tokens)).logits.numpy()
    difference = np.abs(build(exact_spec(tmp_path, lora=None)).logits(tokens) - expected).max()
    assert difference < 1e-4 * np.abs(expected).max()
