"""Batches and naive reference computations for the torch engine's tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from common.engine import LoraSpec
from common.model.adapter import initial_adapter, lora_b_name, write_adapter
from common.model.architecture import read_shape
from common.types import IGNORED_LABEL, Batch
from tests.tiny_models import VOCAB_SIZE


def random_batch(seed: int, lengths: tuple[int, ...] = (23, 17, 9), summary: int = 6, scale: float = 1.0) -> Batch:
    """Rows of random tokens whose last `summary` tokens are trained, with uneven weights that sum to `scale`."""
    generator = np.random.default_rng(seed)
    width = max(lengths)
    tokens = generator.integers(0, VOCAB_SIZE, (len(lengths), width)).astype(np.int32)
    rows, targets = [], []
    for row, length in enumerate(lengths):
        for position in range(length - summary - 1, length - 1):
            rows.append(row * width + position)
            targets.append(tokens[row, position + 1])
    weights = generator.uniform(0.5, 1.5, len(rows))
    return Batch(
        tokens=tokens,
        lengths=np.array(lengths, np.int32),
        rows=np.array(rows, np.int32),
        targets=np.array(targets, np.int32),
        weights=(scale * weights / weights.sum()).astype(np.float32),
        ids=tuple(f"example-{seed}-{row}" for row in range(len(lengths))),
    )


def trained_adapter(model_dir: Path, lora: LoraSpec, seed: int = 7) -> dict[str, np.ndarray]:
    """Adapter weights as after training: B matrices are not zero."""
    generator = np.random.default_rng(seed)
    weights = initial_adapter(read_shape(model_dir), lora)
    return {
        name: generator.normal(0, 0.05, value.shape).astype(np.float32) if ".lora_B." in name else value
        for name, value in weights.items()
    }


def plain_model(model_dir: Path, dtype: torch.dtype = torch.float32) -> Any:
    """The model as transformers loads and computes it."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(model_dir, dtype=dtype, attn_implementation="eager").eval()


def plain_peft(model_dir: Path, adapter_dir: Path, lora: LoraSpec, weights: dict[str, np.ndarray]) -> Any:
    """The model with an adapter as plain peft loads and computes it, the adapter trainable."""
    from peft import PeftModel

    write_adapter(adapter_dir, weights, lora, str(model_dir))
    return PeftModel.from_pretrained(plain_model(model_dir), adapter_dir, is_trainable=True).eval()


def naive_objective(model: Any, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """(sum of weight * nll, sum of nll) from full (B, T, V) logits and labels, with a padding mask."""
    tokens = torch.from_numpy(batch.tokens).long()
    mask = torch.arange(tokens.shape[1])[None] < torch.from_numpy(batch.lengths)[:, None]
    logits = model(input_ids=tokens, attention_mask=mask.long()).logits.float()
    labels = torch.full((tokens.numel(),), IGNORED_LABEL)
    weights = torch.zeros(tokens.numel())
    rows = torch.from_numpy(batch.rows).long()
    labels[rows] = torch.from_numpy(batch.targets).long()
    weights[rows] = torch.from_numpy(batch.weights)
    nll = torch.nn.functional.cross_entropy(
        logits.reshape(tokens.numel(), -1), labels, reduction="none", ignore_index=IGNORED_LABEL
    )
    return (weights * nll).sum(), nll.sum()


def naive_gradients(peft_model: Any, batch: Batch) -> dict[str, np.ndarray]:
    """Gradients of the weighted sum by PEFT name, from plain autograd."""
    peft_model.zero_grad()
    naive_objective(peft_model, batch)[0].backward()
    return {
        name.replace(".default.", "."): parameter.grad.numpy().copy()
        for name, parameter in peft_model.named_parameters()
        if parameter.requires_grad
    }


def some_b_name(weights: dict[str, np.ndarray]) -> str:
    """A B matrix's name, checked to be one."""
    name = next(name for name in weights if ".lora_B." in name)
    assert name == lora_b_name(name.removeprefix("base_model.model.").removesuffix(".lora_B.weight"))
    return name
