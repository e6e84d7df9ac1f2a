"""Models of well-known shapes with random weights, for speed and memory where the real ones cannot be fetched.

The figures are those of the models' own config.json files on the Hub. What a step costs depends on the shape alone;
losses are those of a model that knows nothing.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

SHAPES: dict[str, dict[str, Any]] = {
    "qwen2.5-0.5b": {
        "model_type": "qwen2", "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24,
        "num_attention_heads": 14, "num_key_value_heads": 2, "vocab_size": 151_936, "tie_word_embeddings": True,
        "max_position_embeddings": 32_768, "rms_norm_eps": 1e-6, "rope_theta": 1e6,
    },
    "phi-2": {
        "model_type": "phi", "hidden_size": 2560, "intermediate_size": 10_240, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 51_200, "tie_word_embeddings": False,
        "max_position_embeddings": 2048, "partial_rotary_factor": 0.4, "hidden_act": "gelu_new",
    },
    "tiny-qwen": {
        "model_type": "qwen2", "hidden_size": 112, "intermediate_size": 608, "num_hidden_layers": 3,
        "num_attention_heads": 7, "num_key_value_heads": 1, "vocab_size": 49_152, "tie_word_embeddings": True,
        "max_position_embeddings": 2048, "rms_norm_eps": 1e-6, "rope_theta": 1e6,
    },
    "tiny-phi": {
        "model_type": "phi", "hidden_size": 160, "intermediate_size": 640, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 4, "vocab_size": 49_152, "tie_word_embeddings": False,
        "max_position_embeddings": 2048, "partial_rotary_factor": 0.4, "hidden_act": "gelu_new",
    },
}  # fmt: skip
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")


def copy_tokenizer(source: Path, directory: Path) -> None:
    """Put a tokenizer's files into a directory."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copy(source / name, directory / name)


def build_random_model(name: str, directory: Path, tokenizer: Path, dtype: str = "bfloat16") -> Path:
    """Write the model `name` of SHAPES in `dtype`, with the tokenizer of another one, and return its directory."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(**SHAPES[name], bos_token_id=0, eos_token_id=0, pad_token_id=0)
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
    model.save_pretrained(directory)
    name_rotary_base(directory)
    copy_tokenizer(tokenizer, directory)
    return directory


def name_rotary_base(directory: Path) -> None:
    """Write the rotary base at the top level of config.json: mlx-lm reads it there, transformers no longer has it."""
    path = directory / "config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings["rope_theta"] = (settings.get("rope_parameters") or settings)["rope_theta"]
    path.write_text(json.dumps(settings), encoding="utf-8")
