"""Base and adapter merged into one 16-bit safetensors model."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from common.export.answers import Answers, Sample
from common.export.comparison import TOLERANCE
from common.export.formats import ExportFormat
from common.export.model_directory import merged_dtype, write_model_directory
from common.export.run_with_engine import Reference, directory_answers
from common.export.source import ExportOptions, ExportSource


def write(source: ExportSource, options: ExportOptions, directory: Path) -> list[str]:
    """Write a model directory that needs neither base nor adapter."""
    dtype = write_model_directory(source, options, directory)
    if source.quantization.kind == "none":
        return [f"weights in {dtype}"]
    values = "the values it had in training" if options.base_values == "trained" else "its own, unquantized values"
    return [f"weights in {dtype}; the base, quantized in training, is merged with {values}"]


def answers(
    source: ExportSource, options: ExportOptions, directory: Path, sample: Sample, reference: Reference
) -> Answers:
    """What the merged model says on the run's engine."""
    stored = merged_dtype(source.merged(options), options)
    said = directory_answers(source, directory, sample)
    coarsest = max(stored, said.dtype, key=list(TOLERANCE).index)
    return dataclasses.replace(said, dtype=coarsest)


def usage(source: ExportSource, options: ExportOptions, name: str) -> str:
    """How to use it with transformers."""
    return f"""The document is the user's message; the chat template adds the prompt.

```python
from transformers import pipeline

summarize = pipeline("text-generation", {name!r})
result = summarize([{{"role": "user", "content": document}}], return_full_text=False)
print(result[0]["generated_text"].strip())
```"""


FORMAT = ExportFormat(
    name="merged",
    summary="Base and adapter merged into 16-bit safetensors, for transformers, vLLM and other servers.",
    write=write,
    answers=answers,
    usage=usage,
    library="transformers",
    relation="finetune",
)
