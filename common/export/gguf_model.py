"""A merged model written as one 16-bit GGUF file: names, row order and settings as llama.cpp's loaders want them.

The `gguf` package supplies tensor names and the file format. Knows nothing of quantization (llama.cpp's own
quantizer reads the file) and nothing of prompts beyond the fields it is given.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import ModelError
from common.export.gguf_tokenizer import GgufVocabulary
from common.export.merge import MergedWeights
from common.export.tensor_files import from_float32
from common.model.architecture import ModelShape

GGUF_NAMES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "phi": "phi2", "gemma": "gemma"}
ROPE_TYPES = ("linear", "llama3", "yarn")
ROPE_FREQUENCIES = "rope_freqs.weight"
MOSTLY_F16 = 1  # LlamaFileType.MOSTLY_F16


@dataclass(frozen=True)
class GgufText:
    """What the file says about text: control tokens, and the template that turns a document into the prompt.

    eot_id         a second token that ends a summary, if there is one
    add_bos        whether the beginning-of-text token is put before a prompt
    chat_template  Jinja text, the document being the user's message
    """

    eos_id: int
    eot_id: int | None
    bos_id: int | None
    pad_id: int | None
    unk_id: int | None
    add_bos: bool
    chat_template: str


def write_gguf(
    path: Path,
    weights: MergedWeights,
    config: Mapping[str, Any],
    vocabulary: GgufVocabulary,
    text: GgufText,
    about: Mapping[str, str],
) -> None:
    """Write `weights` as float16 (vectors as float32). `config` is the base's config.json; `about` holds name,
    description and licence. Raises ModelError for settings that llama.cpp's model of this kind would not see.
    """
    import gguf

    shape = weights.shape
    architecture = gguf.MODEL_ARCH(
        next(number for number, name in gguf.MODEL_ARCH_NAMES.items() if name == GGUF_NAMES[shape.model_type])
    )
    check_supported(config, shape)
    names = gguf.get_tensor_name_map(architecture, shape.layers)
    targets = {name: _target_name(names, name) for name in weights.names}
    writer = gguf.GGUFWriter(str(path), gguf.MODEL_ARCH_NAMES[architecture])
    try:
        _add_about(writer, about)
        _add_sizes(writer, shape, config)
        _add_vocabulary(writer, vocabulary, text)
        frequencies = _rope_frequencies(shape)
        if frequencies is not None:
            writer.add_tensor_info(ROPE_FREQUENCIES, frequencies.shape, frequencies.dtype, frequencies.nbytes)
        for name, target in targets.items():
            size, kind = weights.shape_of(name), _numpy_type(weights.shape_of(name))
            writer.add_tensor_info(target, size, kind, math.prod(size) * kind.itemsize)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        if frequencies is not None:
            writer.write_tensor_data(frequencies)
        for name in targets:
            values = _as_llama_cpp(name, weights.float32(name), shape)
            writer.write_tensor_data(from_float32(values, "F16" if values.ndim > 1 else "F32"))
    finally:
        writer.close()


def check_supported(config: Mapping[str, Any], shape: ModelShape) -> None:
    """Raise ModelError for a setting that GGUF cannot carry for this kind of model."""
    rope_type = _rope_type(shape)
    if rope_type not in ("default", *ROPE_TYPES):
        raise ModelError(f"rotary scaling {rope_type!r} cannot be written to GGUF; supported: {', '.join(ROPE_TYPES)}")
    if shape.model_type == "phi" and config.get("qk_layernorm"):
        raise ModelError("a Phi model with qk_layernorm cannot be written to GGUF")
    if shape.model_type in ("qwen2", "phi") and shape.heads * shape.head_dim != shape.hidden_size:
        raise ModelError(f"head_dim {shape.head_dim} cannot be written to GGUF for a {shape.model_type} model")


def _rope_type(shape: ModelShape) -> str:
    scaling = shape.rope_scaling or {}
    return str(scaling.get("rope_type", scaling.get("type", "default")))


def _target_name(names: Any, name: str) -> str:
    target = names.get_name(name, try_suffixes=(".weight", ".bias"))
    if target is None:
        raise ModelError(f"tensor {name} has no place in a GGUF file of this kind")
    return str(target)


def _numpy_type(shape: tuple[int, ...]) -> np.dtype[Any]:
    return np.dtype(np.float16) if len(shape) > 1 else np.dtype(np.float32)


def _as_llama_cpp(name: str, values: np.ndarray, shape: ModelShape) -> np.ndarray:
    """Values in the order and form of llama.cpp's graph for this kind of model."""
    if GGUF_NAMES[shape.model_type] == "llama":  # its rotary embedding pairs neighbours, transformers' pairs halves
        if ".q_proj." in name:
            return _pair_neighbours(values, shape.heads)
        if ".k_proj." in name:
            return _pair_neighbours(values, shape.kv_heads)
    if shape.model_type == "gemma" and name.endswith("norm.weight"):  # its norms multiply by 1 + weight
        return values + np.float32(1.0)
    return values


def _pair_neighbours(values: np.ndarray, heads: int) -> np.ndarray:
    """Rows (heads * d, …) from two halves a head to interleaved pairs."""
    rest = values.shape[1:]
    return values.reshape(heads, 2, values.shape[0] // heads // 2, *rest).swapaxes(1, 2).reshape(values.shape)


def _rope_frequencies(shape: ModelShape) -> np.ndarray | None:
    """Divisors of the rotary frequencies, (head_dim / 2,) float32, for Llama 3's scaling; None for the others.

    Long wavelengths are stretched by `factor`, short ones kept, those between blended (Llama 3.1's model card).
    """
    if _rope_type(shape) != "llama3":
        return None
    scaling = shape.rope_scaling or {}
    factor, low, high = (float(scaling[key]) for key in ("factor", "low_freq_factor", "high_freq_factor"))
    original = float(scaling["original_max_position_embeddings"])
    frequencies = shape.rope_theta ** -(np.arange(0, shape.head_dim, 2, dtype=np.float64) / shape.head_dim)
    turns = original * frequencies / (2 * math.pi)  # whole turns within the original context
    kept = np.clip((turns - low) / (high - low), 0.0, 1.0)
    return (1.0 / (kept + (1.0 - kept) / factor)).astype(np.float32)


def _add_about(writer: Any, about: Mapping[str, str]) -> None:
    writer.add_type("model")
    writer.add_name(about["name"])
    writer.add_description(about["description"])
    if about.get("license"):
        writer.add_license(about["license"])
    writer.add_file_type(MOSTLY_F16)
    writer.add_quantization_version(2)


def _add_sizes(writer: Any, shape: ModelShape, config: Mapping[str, Any]) -> None:
    writer.add_vocab_size(shape.vocab_size)
    writer.add_context_length(shape.context_tokens)
    writer.add_embedding_length(shape.hidden_size)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.intermediate_size)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_rope_freq_base(shape.rope_theta)
    writer.add_rope_dimension_count(int(shape.head_dim * shape.partial_rotary_factor))
    if shape.model_type == "phi":
        writer.add_layer_norm_eps(float(config.get("layer_norm_eps", 1e-5)))
    else:
        writer.add_layer_norm_rms_eps(float(config.get("rms_norm_eps", 1e-6)))
    _add_rope_scaling(writer, shape)


def _add_rope_scaling(writer: Any, shape: ModelShape) -> None:
    import gguf

    kind, scaling = _rope_type(shape), shape.rope_scaling or {}
    if kind == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(float(scaling["factor"]))
    elif kind == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(float(scaling["factor"]))
        original = scaling.get("original_max_position_embeddings") or shape.context_tokens
        writer.add_rope_scaling_orig_ctx_len(int(original))


def _add_vocabulary(writer: Any, vocabulary: GgufVocabulary, text: GgufText) -> None:
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.splitter)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    if vocabulary.scores:
        writer.add_token_scores(vocabulary.scores)
    if vocabulary.merges:
        writer.add_token_merges(vocabulary.merges)
    writer.add_eos_token_id(text.eos_id)
    if text.eot_id is not None:
        writer.add_eot_token_id(text.eot_id)
    if text.bos_id is not None:
        writer.add_bos_token_id(text.bos_id)
    if text.pad_id is not None:
        writer.add_pad_token_id(text.pad_id)
    if text.unk_id is not None:
        writer.add_unk_token_id(text.unk_id)
    writer.add_add_bos_token(text.add_bos)
    writer.add_add_space_prefix(False)  # prompts are put together from pieces, none of which gets a leading space
    writer.add_chat_template(text.chat_template)
