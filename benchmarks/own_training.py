"""sumkit's side of a training benchmark, in a process of its own: `python -m benchmarks.own_training SPEC.json`.

SPEC has a `mode`. `train` makes optimizer steps over encoded rows as the training loop does, timed from the end of
the warm-up to the end of the last step, and writes the adapter (`run_tokens` of the `padded_tokens` run through the
model: a beginning that rows have in common runs once); `max_grad_norm` clips gradients (1 unless given, 0:
no clipping). `turns` makes several epochs with one engine, each when the benchmark says so. `profile` says where the
time of some steps goes. `evaluate` gives the dev loss of adapters, whoever trained them, by one engine in float32.
The base is quantized as `quantize` says (none unless given). The last line of stdout is a JSON object.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.turns import tell, wait_for_turn
from common.budget.probe import sizes
from common.data.batching import build_step, evaluation_batches, plan_epoch
from common.data.encode import encode_examples
from common.data.prompts import PromptFormat
from common.engine import Engine, EngineSpec, LoraSpec, OptimizerSpec, load_engine
from common.model.adapter import read_adapter, write_adapter
from common.types import IGNORED_LABEL, EncodedExample, Example

KINDS = {  # words in the names of kernels and operators, the first that fits
    "attention": ("attention", "flash", "fmha", "bmm"),
    "dequantization": ("dequantize",),
    "products": ("gemm", "cutlass", "nvjet", "addmm", "::mm", "linear", "splitk"),
    "copies": ("memcpy", "copy", "cat", "memset", "fill"),
}


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
    result = _epoch(engine, rows, spec, 0)
    _save(engine, spec)
    return {**result, "rows": len(rows), "trainable": engine.trainable_parameters}


def turns(spec: dict[str, Any]) -> dict[str, Any]:
    """`turns` epochs with one torch engine, each when the benchmark says so."""
    from benchmarks.peers.torch_device import attend_as_on_a_t4, give_memory_back

    if spec.get("as_on_a_t4"):
        attend_as_on_a_t4()
    engine = _engine(spec, _lora(spec), spec["dtype"])
    rows = read_rows(Path(spec["rows"]))
    for number in range(spec["turns"]):
        wait_for_turn()
        result = _epoch(engine, rows, spec, number)
        give_memory_back()
        tell(result)
    _save(engine, spec)
    last = {"rows": len(rows), "trainable": engine.trainable_parameters}
    tell(last)
    return last


def _epoch(engine: Engine, rows: list[EncodedExample], spec: dict[str, Any], epoch: int) -> dict[str, Any]:
    """One epoch, or the first `steps` of it, in the order of epoch `epoch`."""
    plan = plan_epoch(rows, spec["batch_size"], spec["seed"], epoch)[: spec["steps"] or None]
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
    return {
        "seconds": time.perf_counter() - began,
        "tokens": tokens,
        "padded_tokens": padded,
        "run_tokens": run,
        "target_tokens": targets,
        "steps": len(plan) - spec["warmup"],
        "peak_training_bytes": engine.peak_memory_bytes(),
        "train_loss": float(np.mean(losses)),
    }


def _save(engine: Engine, spec: dict[str, Any]) -> None:
    if spec["output"]:
        write_adapter(Path(spec["output"]), engine.adapter(), _lora(spec), spec["model"])


def profile(spec: dict[str, Any]) -> dict[str, Any]:
    """Where the time of `steps` training steps goes, after `warmup` ones: seconds of the device by kind of work, and
    the kernels (on a CPU: operators) that take most. `idle` is the wall time in which the device computed nothing."""
    import torch
    from torch.profiler import ProfilerActivity

    from benchmarks.peers.torch_device import attend_as_on_a_t4, settle

    if spec.get("as_on_a_t4"):
        attend_as_on_a_t4()
    engine = _engine(spec, _lora(spec), spec["dtype"])
    rows = read_rows(Path(spec["rows"]))
    plan = plan_epoch(rows, spec["batch_size"], spec["seed"], 0)[: spec["warmup"] + spec["steps"]]
    steps = [build_step([rows[index] for index in step], spec["micro_batch_tokens"], pad_id=0) for step in plan]
    for step in steps[: spec["warmup"]]:
        engine.step(step, spec["learning_rate"])
    on_gpu = torch.cuda.is_available()
    settle()
    with torch.profiler.profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]) as measured:
        began = time.perf_counter()
        for step in steps[spec["warmup"] :]:
            engine.step(step, spec["learning_rate"])
        settle()
        seconds = time.perf_counter() - began
    name = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    spent = {event.key: (getattr(event, name) / 1e6, event.count) for event in measured.key_averages()}
    spent = {key: value for key, value in spent.items() if value[0] > 0}
    kinds: dict[str, float] = {}
    for key, (used, _) in spent.items():
        kind = next((kind for kind, words in KINDS.items() if any(word in key.lower() for word in words)), "other")
        kinds[kind] = kinds.get(kind, 0.0) + used
    most = sorted(spent.items(), key=lambda item: -item[1][0])[:25]
    return {
        "seconds": seconds,
        "kinds": {**kinds, "idle": max(0.0, seconds - sum(kinds.values()))},
        "kernels": sum(count for _, count in spent.values()) / spec["steps"],
        "most": [{"name": key[:120], "seconds": used, "count": count} for key, (used, count) in most],
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
        Path(spec["model"]), quantize=spec.get("quantize", "none"), dtype=dtype, lora=lora,
        compile=spec.get("compile", False),
        optimizer=OptimizerSpec(max_grad_norm=spec.get("max_grad_norm", 1.0)), seed=spec["seed"],
    )  # fmt: skip
    return load_engine(spec["engine"], built)


MODES = {"train": train, "turns": turns, "evaluate": evaluate, "profile": profile}

if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print("\n" + json.dumps(MODES[given["mode"]](given)))
