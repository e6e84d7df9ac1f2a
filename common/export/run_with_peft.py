"""Answers of plain transformers and PEFT, with nothing of sumkit in between."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import AdapterError, EngineError
from common.export.answers import Answers, Sample, Summary


def peft_answers(
    base: Path, adapter: Path, sample: Sample, decode: Callable[[Sequence[int]], str], dtype: str, rows: int = 0
) -> Answers:
    """Load the base (`dtype` names its torch type) with an adapter directory as any user of PEFT would.

    `rows` is what its embedding is resized to first, 0 for not at all.

    Raises EngineError when torch or PEFT is not installed, AdapterError when PEFT refuses the directory.
    """
    try:
        import peft
        import torch
        import transformers
    except ImportError as error:
        raise EngineError(
            f"checking with plain PEFT needs torch and peft ({error}): pip install 'sumkit[cuda]'"
        ) from None
    device = "cuda" if torch.cuda.is_available() else "cpu"
    kind = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}[dtype]
    bare: Any = transformers.AutoModelForCausalLM.from_pretrained(
        str(base), dtype=kind, use_safetensors=True, trust_remote_code=False
    )
    if rows:
        bare.resize_token_embeddings(rows)
    bare = bare.to(device)
    try:
        model = peft.PeftModel.from_pretrained(bare, str(adapter)).eval()
    except (ValueError, RuntimeError, KeyError, OSError) as error:
        raise AdapterError(f"PEFT cannot load {adapter} ({error})") from None
    bare.generation_config = transformers.GenerationConfig(
        max_new_tokens=sample.max_new_tokens,
        do_sample=False,
        eos_token_id=list(sample.eos_ids),
        pad_token_id=sample.eos_ids[0],
    )
    logits: list[np.ndarray] = []
    summaries: list[Summary] = []
    with torch.inference_mode():
        for sequence, rows in zip(sample.sequences, sample.rows, strict=True):
            output = model(input_ids=torch.tensor([sequence], device=device)).logits
            logits.append(output[0, -rows:].float().cpu().numpy())
        for prompt in sample.prompts:
            ids = torch.tensor([prompt], device=device)
            text = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids))
            new = text[0, len(prompt) :].tolist()
            ended = bool(new) and new[-1] in sample.eos_ids
            summaries.append(Summary(decode(new[:-1] if ended else new), "eos" if ended else "length"))
    del model, bare
    gc.collect()
    method = f"plain transformers {transformers.__version__} and PEFT {peft.__version__}, unquantized base, {dtype}"
    return Answers(method, dtype, tuple(logits), tuple(summaries))
