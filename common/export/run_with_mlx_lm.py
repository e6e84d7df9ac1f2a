"""Answers of plain mlx-lm, loaded as its own commands load a model and an adapter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import AdapterError, EngineError
from common.export.answers import Answers, Sample, Summary


def mlx_lm_answers(
    model_dir: Path, adapter: Path | None, sample: Sample, decode: Callable[[Sequence[int]], str]
) -> Answers:
    """Load with `mlx_lm.load`, as `mlx_lm.generate --model … --adapter-path …` does, and answer.

    Raises EngineError when mlx-lm is not installed, AdapterError when it refuses the adapter.
    """
    try:
        import mlx.core as mx
        import mlx_lm
    except ImportError as error:
        raise EngineError(f"checking with mlx-lm needs mlx and mlx-lm ({error}): pip install 'sumkit[mlx]'") from None
    try:
        model = mlx_lm.load(str(model_dir), adapter_path=str(adapter) if adapter else None)[0]
    except (ValueError, KeyError, RuntimeError, FileNotFoundError) as error:
        raise AdapterError(f"mlx-lm cannot load {adapter or model_dir} ({error})") from None
    widened = widen_on_a_cpu(model)
    logits = tuple(
        np.array(model(mx.array([list(sequence)]))[0, -rows:].astype(mx.float32))
        for sequence, rows in zip(sample.sequences, sample.rows, strict=True)
    )
    summaries = tuple(_summarize(model, prompt, sample, decode) for prompt in sample.prompts)
    dtype = str(model.layers[-1].input_layernorm.weight.dtype).removeprefix("mlx.core.")
    said = f"{dtype} in place of {widened}, for speed on this CPU" if widened else dtype
    return Answers(f"plain mlx-lm {version('mlx-lm')}, {said}", dtype, logits, summaries)


def widen_on_a_cpu(model: Any) -> str:
    """Let a quantized model compute in float32 where MLX runs on a CPU: its 4-bit product is some 20 times slower in
    16 bits there. Every weight keeps its value. Returns the type that it had, empty where nothing was changed.
    """
    import mlx.core as mx
    import mlx.nn as nn

    dtype = model.layers[-1].input_layernorm.weight.dtype
    quantized = any(isinstance(module, nn.QuantizedLinear) for module in model.modules())
    if mx.default_device() != mx.Device(mx.cpu) or not quantized or dtype == mx.float32:
        return ""
    model.set_dtype(mx.float32)
    return str(dtype).removeprefix("mlx.core.")


def _summarize(model: Any, prompt: Sequence[int], sample: Sample, decode: Callable[[Sequence[int]], str]) -> Summary:
    import mlx.core as mx
    from mlx_lm.generate import generate_step

    tokens: list[int] = []
    for token, _ in generate_step(mx.array(list(prompt)), model, max_tokens=sample.max_new_tokens):
        if int(token) in sample.eos_ids:
            return Summary(decode(tokens), "eos")
        tokens.append(int(token))
    return Summary(decode(tokens), "length")
