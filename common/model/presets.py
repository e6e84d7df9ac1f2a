"""The models sumkit knows by a short name: Hub id, kind, licence, and sizes so that plans need no download."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from common.model.architecture import ModelShape, shape_from_config


@dataclass(frozen=True)
class Preset:
    """A model by its short name. `config` holds the sizes that its own config.json states."""

    name: str
    hub_id: str
    instruct: bool
    gated: bool
    licence: str
    config: dict[str, Any]


def _llama(hidden: int, layers: int, heads: int, kv: int, mlp: int, vocab: int, **more: Any) -> dict[str, Any]:
    return {
        "model_type": "llama",
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "intermediate_size": mlp,
        "vocab_size": vocab,
        **more,
    }


_LLAMA3_ROPE = {"rope_theta": 500000.0, "max_position_embeddings": 131072, "tie_word_embeddings": True}
_QWEN = _llama(896, 24, 14, 2, 4864, 151936, max_position_embeddings=32768, rope_theta=1e6, tie_word_embeddings=True)
_PHI2 = _llama(2560, 32, 32, 32, 10240, 51200, max_position_embeddings=2048, partial_rotary_factor=0.4)
_SMOL = _llama(576, 30, 9, 3, 1536, 49152, max_position_embeddings=8192, rope_theta=1e5, tie_word_embeddings=True)
_MISTRAL = _llama(4096, 32, 32, 8, 14336, 32000, max_position_embeddings=32768, sliding_window=4096)
_GEMMA = _llama(3072, 28, 16, 16, 24576, 256000, head_dim=256, max_position_embeddings=8192, tie_word_embeddings=True)

PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset("qwen2.5-0.5b", "Qwen/Qwen2.5-0.5B", False, False, "apache-2.0", {**_QWEN, "model_type": "qwen2",
               "use_sliding_window": False}),
        Preset("phi-2", "microsoft/phi-2", False, False, "mit", {**_PHI2, "model_type": "phi"}),
        Preset("smollm2-135m", "HuggingFaceTB/SmolLM2-135M-Instruct", True, False, "apache-2.0", _SMOL),
        Preset("llama-3.2-1b", "meta-llama/Llama-3.2-1B-Instruct", True, True, "llama3.2",
               _llama(2048, 16, 32, 8, 8192, 128256, head_dim=64, **_LLAMA3_ROPE)),
        Preset("llama-3.2-3b", "meta-llama/Llama-3.2-3B-Instruct", True, True, "llama3.2",
               _llama(3072, 28, 24, 8, 8192, 128256, head_dim=128, **_LLAMA3_ROPE)),
        Preset("mistral-7b", "mistralai/Mistral-7B-v0.1", False, False, "apache-2.0",
               {**_MISTRAL, "model_type": "mistral"}),
        Preset("gemma-7b", "google/gemma-7b", False, True, "gemma", {**_GEMMA, "model_type": "gemma"}),
        Preset("llama-2-7b", "meta-llama/Llama-2-7b-hf", False, True, "llama2",
               _llama(4096, 32, 32, 32, 11008, 32000, max_position_embeddings=4096)),
    )
}  # fmt: skip


def preset_shape(name: str) -> ModelShape | None:
    """Sizes of a preset (by short name or Hub id, any case) without its weights; None for another model."""
    preset = find_preset(name)
    return shape_from_config(preset.config, f"preset {preset.name}") if preset else None


def find_preset(name: str) -> Preset | None:
    """The preset of this short name or Hub id, any case."""
    wanted = name.lower()
    for preset in PRESETS.values():
        if wanted in (preset.name, preset.hub_id.lower()):
            return preset
    return None
