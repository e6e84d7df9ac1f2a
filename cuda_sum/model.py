"""A transformers model from a local directory, frozen, its linear layers quantized. Knows no adapters or losses."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from common.engine import EngineSpec
from common.errors import EngineError, ModelError
from common.model.architecture import ModelShape, read_shape

DROPOUTS = ("attention_dropout", "resid_pdrop", "embd_pdrop", "hidden_dropout")
HEAD = "lm_head"


def load_model(spec: EngineSpec, device: torch.device, dtype: torch.dtype) -> tuple[Any, ModelShape]:
    """The frozen base model and its shape; its linear layers are quantized as `spec.quantize` says.

    Everything else, embeddings and head included, has `dtype`. The base's own dropout is switched off. A model
    already quantized by bitsandbytes is taken as it is. Reads safetensors only and runs no code from the directory.
    Raises ModelError when the directory is missing, damaged or not supported, EngineError without bitsandbytes.
    """
    shape = read_shape(spec.model_dir)
    config = _model_config(spec.model_dir)
    quantization = _quantization(spec, dtype, config)
    from transformers import AutoModelForCausalLM, GenerationConfig

    try:
        model = AutoModelForCausalLM.from_pretrained(
            spec.model_dir,
            config=config,
            dtype=dtype,
            device_map={"": str(device)},
            attn_implementation="sdpa",
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            **({"quantization_config": quantization} if quantization is not None else {}),
        )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise ModelError(f"{spec.model_dir}: the model cannot be loaded ({_first_line(error)})") from error
    if quantization is not None:
        check_quantized(model, shape)
    model.requires_grad_(False)
    model.eval()
    model.generation_config = GenerationConfig()  # the model's own would enter beam search where nothing is said
    return model, shape


def _model_config(directory: Path) -> Any:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    for name in DROPOUTS:
        if getattr(config, name, None):
            setattr(config, name, 0.0)
    config.use_cache = False
    return config


def _quantization(spec: EngineSpec, dtype: torch.dtype, config: Any) -> Any:
    """Settings for bitsandbytes, None where there is nothing to quantize."""
    raw = json.loads((spec.model_dir / "config.json").read_text(encoding="utf-8"))
    stored = raw.get("quantization_config") or raw.get("quantization")
    if stored and stored.get("quant_method") != "bitsandbytes":
        raise ModelError(
            f"{spec.model_dir} is quantized by {stored.get('quant_method', 'MLX')}, which the cuda engine does not "
            "train on; use the unquantized model, or one quantized by bitsandbytes"
        )
    import_bitsandbytes(required=bool(stored) or spec.quantize != "none")
    if stored or spec.quantize == "none":
        return None
    from transformers import BitsAndBytesConfig

    if spec.quantize == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=[HEAD])
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=[HEAD],
    )


def import_bitsandbytes(required: bool) -> None:
    """Import bitsandbytes, where it is installed, without letting it fetch compiled code.

    On CPUs with AVX-512 BF16 it downloads a kernel from the Hub when the package `kernels` can be imported; with
    that import blocked it takes its own, and its warning about that is not for our users. Has to come before peft,
    which imports bitsandbytes too. Raises EngineError when it is `required` and missing.
    """
    there = sys.modules.get("kernels")
    sys.modules["kernels"] = None  # type: ignore[assignment]
    logger = logging.getLogger("bitsandbytes.backends.cpu.ops")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        if required:
            raise EngineError(
                "4-bit and 8-bit bases need bitsandbytes: pip install bitsandbytes, or use --quantize none"
            ) from None
    finally:
        logger.setLevel(level)
        del sys.modules["kernels"]
        if there is not None:
            sys.modules["kernels"] = there


def check_quantized(model: nn.Module, shape: ModelShape) -> None:
    """Raise ModelError unless exactly the transformer's linear layers are quantized, on both engines alike."""
    expected = {linear.path for linear in shape.linears()}
    found = {name for name, module in model.named_modules() if is_quantized(module)}
    if found != expected:
        odd = sorted(found ^ expected)[0]
        raise ModelError(f"{odd} {'was' if odd in found else 'was not'} quantized; this is not how the engines agree")


def recompute_layers(model: Any) -> None:
    """Gradient checkpointing: keep only each layer's input and compute the layer again in the backward pass."""
    name = "activation_checkpointing_enable"  # transformers before 5.20 has the older name
    enable = getattr(model, name, None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def is_quantized(linear: nn.Module) -> bool:
    """Whether a layer holds 4-bit or 8-bit weights of bitsandbytes."""
    return type(linear).__name__ in ("Linear4bit", "Linear8bitLt")


def dense_weight(linear: nn.Module, dtype: torch.dtype) -> torch.Tensor:
    """The (out, in) weight a linear layer computes with, in `dtype`: its own, or dequantized into a new tensor.

    8-bit weights are dequantized too: activations are not rounded to 8 bits, as bitsandbytes' own product does.
    """
    kind = type(linear).__name__
    weight: Any = linear.weight
    if kind == "Linear4bit":
        from bitsandbytes.functional import dequantize_4bit

        weight = dequantize_4bit(weight.data, weight.quant_state)
    elif kind == "Linear8bitLt":
        state: Any = linear.state
        rows = weight.SCB if weight.SCB is not None else state.SCB
        weight = weight.data * (rows[:, None] * (1.0 / 127.0))
    return weight.to(dtype)  # type: ignore[no-any-return]


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
