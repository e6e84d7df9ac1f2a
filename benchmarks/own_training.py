"""sumkit's side of a training benchmark, in a process of its own: `python -m benchmarks.own_training SPEC.json`.

SPEC has a `mode`. `train` makes optimizer steps over encoded rows as the training loop does, timed from the end of
the warm-up to the end of the last step, and writes the adapter (`run_tokens` of the `padded_tokens` run through the
model: a beginning that rows have in common runs once); `max_grad_norm` clips gradients (1 unless given, 0:
no clipping). `evaluate` gives the dev loss of adapters, whoever
trained them, by one engine in float32. The last line of stdout is a JSON object.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.adapter import read_adapter, write_adapter
from common.budget.probe import sizes
from common.data.batching import build_step, evaluation_batches, plan_epoch
from common.data.encode import encode_examples
from common.data.prompts import PromptFormat
from common.engine import Engine, EngineSpec, LoraSpec, OptimizerSpec, load_engine
from common.types import IGNORED_LABEL, EncodedExample, Example


def write_rows(path: Path, examples: Sequence[Example], form: PromptFormat) -> list[EncodedExample]:
    """Encode examples and write them as rows for every side: token ids, and 1 where a token is trained."""
    encoded, _ = encode_examples(examples, form)
    with path.open("w", encoding="utf-8") as file:
        for item in encoded:
            trained = item.labels != IGNORED_LABEL
            row = {
                "id": item.id,
                "input_ids": item.tokens.tolist(),
                "completion_mask": trained.astype(int).tolist(),
            }
            file.write(json.dumps(row) + "\n")
    return encoded


def read_rows(path: Path) -> list[EncodedExample]:
    """The encoded examples that `write_rows` wrote."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        tokens = np.array(row["input_ids"], np.int32)
        labels = np.where(np.array(row["completion_mask"]) == 1, tokens, IGNORED_LABEL)
        found.append(EncodedExample(row["id"], tokens, labels))
    return found


def train(spec: dict[str, Any]) -> dict[str, Any]:
    """Steps over one epoch (or the first `steps` of it); seconds and real tokens after `warmup` steps."""
    engine = _engine(spec, _lora(spec), spec["dtype"])
    rows = read_rows(Path(spec["rows"]))
    plan = plan_epoch(rows, spec["batch_size"], spec["seed"], 0)[: spec["steps"] or None]
    began, tokens, padded, run, targets, losses = time.perf_counter(), 0, 0, 0, 0, []
    for number, step in enumerate(plan):
        if number == spec["warmup"]:
            engine.reset_peak_memory()
            began = time.perf_counter()
        batches = build_step([rows[index] for index in step], spec["micro_batch_tokens"], pad_id=0)
        stats = engine.step(batches, spec["learning_rate"])
        losses.append(stats.loss)
        if number >= spec["warmup"]:
            tokens += sum(batch.real_tokens for batch in batches)
            padded += sum(batch.tokens.size for batch in batches)
            run += sum(sizes(batch).run_tokens for batch in batches)
            targets += stats.target_tokens
    seconds = time.perf_counter() - began
    peak = engine.peak_memory_bytes()
    if spec["output"]:
        write_adapter(Path(spec["output"]), engine.adapter(), _lora(spec), spec["model"])
    return {
        "seconds": seconds,
        "tokens": tokens,
        "padded_tokens": padded,
        "run_tokens": run,
        "target_tokens": targets,
        "steps": len(plan) - spec["warmup"],
        "rows": len(rows),
        "peak_training_bytes": peak,
        "train_loss": float(np.mean(losses)),
        "trainable": engine.trainable_parameters,
    }


def evaluate(spec: dict[str, Any]) -> dict[str, Any]:
    """Dev loss (nats per target token) of the untuned model and of every adapter directory in `adapters`."""
    batches = evaluation_batches(read_rows(Path(spec["rows"])), spec["micro_batch_tokens"], pad_id=0)
    losses: dict[str, float] = {}
    engine = None
    for name, directory in spec["adapters"].items():
        adapter = read_adapter(Path(directory))
        if engine is None:
            engine = _engine(spec, adapter.lora, "float32")
            engine.enable_adapter(False)
            losses["untuned"] = engine.evaluate(batches).loss
            engine.enable_adapter(True)
        engine.load_adapter(adapter.weights)
        losses[name] = engine.evaluate(batches).loss
    return {"dev_loss": losses, "target_tokens": sum(batch.target_tokens for batch in batches)}


def _lora(spec: dict[str, Any]) -> LoraSpec:
    modules = spec.get("target_modules", "all-linear")
    return LoraSpec(
        rank=spec["rank"],
        alpha=spec["alpha"],
        target_modules=modules if isinstance(modules, str) else tuple(modules),
        layers=spec.get("layers", 0),
        seed=spec["seed"],
    )


def _engine(spec: dict[str, Any], lora: LoraSpec, dtype: Any) -> Engine:
    built = EngineSpec(
        Path(spec["model"]), quantize="none", dtype=dtype, lora=lora, compile=spec.get("compile", False),
        optimizer=OptimizerSpec(max_grad_norm=spec.get("max_grad_norm", 1.0)), seed=spec["seed"],
    )  # fmt: skip
    return load_engine(spec["engine"], built)


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print("\n" + json.dumps({"train": train, "evaluate": evaluate}[given["mode"]](given)))
