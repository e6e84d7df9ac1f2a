"""Encoders by Hub id or directory, loaded by plain transformers: safetensors only, no code from the Hub, float32.

Knows nothing of what an encoder is used for; messages name it by `purpose` (`BERTScore`, `checking summaries`).
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from common.errors import EngineError, ModelError


def need_torch(purpose: str) -> None:
    """Raise EngineError with the remedy where torch or transformers is missing."""
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("transformers") is None:
        raise EngineError(f"{purpose} needs torch and transformers. Install them with: pip install 'sumkit[bertscore]'")


def encoder_config(model: str, purpose: str, option: str = "") -> Any:
    """The config, without loading weights; `option` is the flag that gave the model. Raises ModelError, EngineError."""
    need_torch(purpose)
    from transformers import AutoConfig

    looks_local = model.startswith((".", "/", "~")) or model.count("/") > 1
    if looks_local and not Path(model).expanduser().is_dir():
        raise ModelError(f"{option} {model}: there is no such folder; give a model's folder or its Hub id".strip())
    try:
        return AutoConfig.from_pretrained(_place(model), trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ModelError(_not_loaded(model, purpose, error)) from error


def load_encoder(model: str, kind: str, purpose: str, **tokenizer_options: Any) -> tuple[Any, Any]:
    """Tokenizer and model; `kind` is the class of transformers (`AutoModel`). Raises ModelError, EngineError."""
    need_torch(purpose)
    import torch
    import transformers

    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            _place(model), trust_remote_code=False, **tokenizer_options
        )
        loaded = getattr(transformers, kind).from_pretrained(
            _place(model), use_safetensors=True, trust_remote_code=False, dtype=torch.float32
        )
    except (OSError, ValueError) as error:
        raise ModelError(_not_loaded(model, purpose, error)) from error
    return tokenizer, loaded.eval()


def _place(model: str) -> str:
    expanded = Path(model).expanduser()
    return str(expanded) if expanded.is_dir() else model


def _not_loaded(model: str, purpose: str, error: Exception) -> str:
    return f"{model} cannot be loaded as an encoder for {purpose}: {str(error).splitlines()[0]}"
