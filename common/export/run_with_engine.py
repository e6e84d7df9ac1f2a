"""Answers of the run itself, and of exported model directories, on sumkit's own engines."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from common.engine import Engine, EngineSpec, GenerationSpec, load_engine
from common.export.answers import Answers, Sample, Summary
from common.export.source import ExportSource

Decode = Callable[[Sequence[int]], str]


@dataclass(frozen=True)
class Reference:
    """What the run says, and what its base says without the adapter (`untuned`, logits as in `answers`).

    compute_dtype  type the engine computed in
    """

    answers: Answers
    untuned: tuple[np.ndarray, ...]
    compute_dtype: str


def run_answers(source: ExportSource, sample: Sample, quantize: Literal["4bit", "8bit", "none"]) -> Reference:
    """The run's own answers, its base quantized as given. Raises EngineError, ModelError or AdapterError."""
    spec = EngineSpec(
        model_dir=source.model.directory, quantize=quantize, dtype=source.config.model.dtype, lora=source.adapter.lora
    )
    engine = load_engine(source.engine, spec)
    engine.load_adapter(source.adapter.weights)
    base = {"4bit": "4-bit base", "8bit": "8-bit base", "none": "unquantized base"}[quantize]
    method = f"{engine.name} engine, {base}, {engine.device.compute_dtype}"
    answers = engine_answers(engine, sample, source.tokenizer.decode, method)
    engine.enable_adapter(False)
    reference = Reference(answers, _logits(engine, sample), engine.device.compute_dtype)
    del engine
    gc.collect()  # a model's memory must be free before the exported one is loaded
    return reference


def directory_answers(source: ExportSource, directory: Path, sample: Sample) -> Answers:
    """Answers of a merged model directory, loaded like any base model."""
    spec = EngineSpec(model_dir=directory, quantize="none", dtype=source.config.model.dtype)
    engine = load_engine(source.engine, spec)
    method = f"{engine.name} engine on the merged weights, {engine.device.compute_dtype}"
    answers = engine_answers(engine, sample, source.tokenizer.decode, method)
    del engine
    gc.collect()
    return answers


def engine_answers(engine: Engine, sample: Sample, decode: Decode, method: str) -> Answers:
    """Logits and greedy summaries of an engine as it stands."""
    logits = _logits(engine, sample)
    spec = GenerationSpec(max_new_tokens=sample.max_new_tokens, eos_ids=sample.eos_ids)
    generations = engine.generate(sample.prompts, spec)
    summaries = tuple(Summary(decode(item.tokens), item.stop_reason) for item in generations)
    return Answers(method, engine.device.compute_dtype, logits, summaries)


def _logits(engine: Engine, sample: Sample) -> tuple[np.ndarray, ...]:
    return tuple(
        np.asarray(engine.logits(np.array([sequence], np.int32))[0, -rows:], np.float32)
        for sequence, rows in zip(sample.sequences, sample.rows, strict=True)
    )
