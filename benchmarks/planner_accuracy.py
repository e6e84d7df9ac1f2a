"""Predicted peak memory against what the engines really took, over models, lengths, ranks, and settings.

    python benchmarks/planner_accuracy.py [--engine mlx|cuda] [--dtype float32|auto] [--only N]

MLX is measured by its own allocator (mlx.core.get_peak_memory, on the CPU too). The torch engine is measured by
torch.cuda.max_memory_allocated where there is an NVIDIA GPU; on a CPU, whose allocator keeps no count, every tensor
that it makes is followed from creation to release. Models are built with random weights at the proportions of real
ones, a few layers deep, so that a configuration takes seconds.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.record import headline, write_result
from common.budget.activations import MemorySettings, MicroBatch
from common.budget.memory import estimate_memory
from common.engine import EngineSpec, LoraSpec, load_engine
from common.model.architecture import read_shape
from common.types import Batch

ALLOWED_MEDIAN, ALLOWED_UNDER = 0.10, 0.05
# Widths in the proportions of Qwen2.5-0.5B, SmolLM2-135M, Llama-3.2-1B, Phi-2 and Gemma-7B, scaled down.
FAMILIES: dict[str, dict[str, Any]] = {
    "qwen": {"type": "qwen2", "hidden": 224, "wide": 1216, "heads": 4, "kv": 1, "tied": True},
    "smollm": {"type": "llama", "hidden": 192, "wide": 512, "heads": 3, "kv": 1, "tied": True},
    "llama": {"type": "llama", "hidden": 256, "wide": 1024, "heads": 8, "kv": 2, "tied": True},
    "phi": {"type": "phi", "hidden": 192, "wide": 768, "heads": 4, "kv": 4, "tied": False},
    "gemma": {"type": "gemma", "hidden": 128, "wide": 1024, "heads": 2, "kv": 2, "tied": True},
}


@dataclass(frozen=True)
class Case:
    """One configuration: model family and depth, batch (`shared` first tokens in common), adapter, settings."""

    family: str
    layers: int = 4
    vocabulary: int = 4096
    rows: int = 2
    tokens: int = 192
    targets: int = 16
    rank: int = 8
    modules: tuple[str, ...] = ()
    adapter_layers: int = 0
    quantize: str = "none"
    checkpointing: bool = False
    micro_batches: int = 1
    shared: int = 0

    @property
    def lora(self) -> LoraSpec:
        return LoraSpec(rank=self.rank, target_modules=self.modules or "all-linear", layers=self.adapter_layers)

    @property
    def micro_batch(self) -> MicroBatch:
        return MicroBatch(self.rows, self.tokens, self.rows * self.targets, self.shared)


CASES = (
    *[Case(family) for family in FAMILIES],
    *[Case(family, quantize="4bit", layers=6) for family in FAMILIES],
    *[Case(family, checkpointing=True, layers=6) for family in FAMILIES],
    *[Case(family, checkpointing=True, quantize="4bit", layers=10, tokens=160) for family in ("qwen", "smollm", "phi")],
    Case("qwen", quantize="8bit"),
    Case("phi", quantize="8bit", rank=32),
    Case("smollm", rank=64),
    Case("qwen", rank=32, rows=1, tokens=320),
    Case("llama", rows=4, tokens=96),
    Case("smollm", rows=1, tokens=768, layers=3),
    Case("phi", rows=1, tokens=512, layers=3),
    Case("qwen", rows=8, tokens=48, quantize="4bit"),
    Case("smollm", layers=12, quantize="4bit"),
    Case("smollm", vocabulary=32_768, targets=96),
    Case("qwen", vocabulary=65_536, targets=128, quantize="4bit"),
    Case("llama", vocabulary=32_768, targets=48, checkpointing=True),
    Case("smollm", modules=("q_proj", "v_proj")),
    Case("phi", modules=("q_proj", "v_proj")),
    Case("qwen", adapter_layers=2, layers=6),
    Case("smollm", rank=64, micro_batches=3, tokens=96),
    Case("smollm", rows=8, tokens=96, shared=48),
    Case("qwen", rows=4, shared=64, quantize="4bit"),
    Case("phi", rows=4, tokens=160, shared=80, checkpointing=True),
)


def build_model(case: Case, folder: Path) -> Path:
    """A model directory for the case, made once."""
    sizes = FAMILIES[case.family]
    directory = folder / f"{case.family}-{case.layers}-{case.vocabulary}"
    if (directory / "config.json").is_file():
        return directory
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        sizes["type"],
        hidden_size=sizes["hidden"],
        intermediate_size=sizes["wide"],
        num_hidden_layers=case.layers,
        num_attention_heads=sizes["heads"],
        num_key_value_heads=sizes["kv"],
        vocab_size=case.vocabulary,
        max_position_embeddings=2048,
        tie_word_embeddings=sizes["tied"],
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
        **({"head_dim": sizes["hidden"] // sizes["heads"]} if sizes["type"] == "gemma" else {}),
    )
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(directory)
    return directory


def make_batch(case: Case, seed: int) -> Batch:
    """Random tokens; the last `targets` of each row are trained."""
    generator = np.random.default_rng(seed)
    tokens = generator.integers(0, case.vocabulary, (case.rows, case.tokens), dtype=np.int32)
    tokens[:, : case.shared] = tokens[0, : case.shared]
    last = np.arange(case.tokens - case.targets - 1, case.tokens - 1)
    rows = (np.arange(case.rows)[:, None] * case.tokens + last).ravel().astype(np.int32)
    targets = generator.integers(0, case.vocabulary, len(rows), dtype=np.int32)
    weights = np.full(len(rows), 1 / len(rows), np.float32)
    return Batch(tokens, np.full(case.rows, case.tokens, np.int32), rows, targets, weights)


def measure(case: Case, directory: Path, engine_name: Any, dtype: str = "") -> tuple[int, str, int, float]:
    """Peak bytes of two steps, the kind of device, bytes of its compute dtype, and seconds of a step.

    `dtype` empty: float32 for the torch engine on a CPU, the same on every processor; else the engine's own choice.
    """
    gc.collect()
    spec = EngineSpec(
        directory, quantize=case.quantize, lora=case.lora, gradient_checkpointing=case.checkpointing,
        dtype=dtype or ("float32" if engine_name == "cuda" and not _has_gpu() else "auto"),
    )  # fmt: skip
    engine = load_engine(engine_name, spec)
    batches = [make_batch(case, number) for number in range(case.micro_batches)]
    engine.reset_peak_memory()
    began = time.perf_counter()
    if engine_name == "cuda" and engine.device.kind == "cpu":
        engine.step(batches, 1e-4)
        with tensor_tracker() as tracker:
            engine.step(batches, 1e-4)
        peak = held_bytes(engine) + tracker.peak
    else:
        for _ in range(2):
            engine.step(batches, 1e-4)
        peak = engine.peak_memory_bytes()
    seconds = (time.perf_counter() - began) / 2
    return peak, engine.device.kind, 4 if engine.device.compute_dtype == "float32" else 2, seconds


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def tensor_tracker() -> Any:
    """A context that follows the bytes of every tensor made in it; `peak` is the most at once."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_iter

    class Tracker(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.alive: dict[int, int] = {}
            self.now = self.peak = 0

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = function(*args, **(kwargs or {}))
            given = {t.untyped_storage()._cdata for t in tree_iter((args, kwargs)) if isinstance(t, torch.Tensor)}
            for tensor in tree_iter(result):
                if isinstance(tensor, torch.Tensor):
                    storage = tensor.untyped_storage()
                    key = storage._cdata
                    if key not in given and key not in self.alive:
                        self.alive[key] = storage.nbytes()
                        self.now += storage.nbytes()
                        weakref.finalize(storage, self.release, key)
            self.peak = max(self.peak, self.now)
            return result

        def release(self, key: int) -> None:
            self.now -= self.alive.pop(key, 0)

    return Tracker()


def held_bytes(engine: Any) -> int:
    """Bytes that the torch engine holds between steps: weights, scales of quantization, adapter, optimizer."""
    adapter = engine._adapter
    tensors = [*engine.model.parameters(), *engine.model.buffers(), adapter.values, adapter.gradients, adapter.now]
    for tensor in list(tensors):
        state = getattr(tensor, "quant_state", None)
        if state is not None:
            tensors += [state.absmax, state.code, state.offset, state.state2.absmax, state.state2.code]
        if getattr(tensor, "SCB", None) is not None:
            tensors.append(tensor.SCB)
    storages = {tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values()) + 2 * 4 * engine.trainable_parameters


def main() -> None:
    """Measure every case, print predictions beside it, and write benchmarks/results/planner_accuracy_ENGINE.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=["mlx", "cuda"], default="mlx")
    parser.add_argument("--only", type=int, default=len(CASES), help="measure the first N cases")
    parser.add_argument("--dtype", default="", choices=["", "auto", "float32", "bfloat16"])
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES[: options.only]:
            directory = build_model(case, Path(folder))
            measured, kind, compute_bytes, seconds = measure(case, directory, options.engine, options.dtype)
            settings = MemorySettings(
                options.engine, kind, case.quantize, compute_bytes, case.lora, case.checkpointing,
                accumulation=case.micro_batches > 1,
            )  # fmt: skip
            predicted = estimate_memory(read_shape(directory), settings, case.micro_batch).training_bytes
            error = predicted / measured - 1
            row = dict(vars(case))
            rows.append({**row, "measured_bytes": measured, "predicted_bytes": predicted, "error": error})
            print(
                f"{case.family:7} layers {case.layers:2} batch {case.rows}x{case.tokens:<4} rank {case.rank:2} "
                f"{case.quantize:4} {'checkpointing' if case.checkpointing else '':13} "
                f"measured {measured / 2**20:7.1f} MiB predicted {predicted / 2**20:7.1f} {error:+6.1%} "
                f"({seconds:.1f} s)",
                flush=True,
            )
    errors = np.array([row["error"] for row in rows])
    median, under, over = float(np.median(np.abs(errors))), float(errors.min()), float(errors.max())
    how = "tensors followed" if options.engine == "cuda" and not _has_gpu() else "allocator's peak"
    print(f"{len(rows)} configurations ({how}): median error {median:.1%}, lowest {under:+.1%}, highest {over:+.1%}")
    write_result(
        f"planner_accuracy_{options.engine}" + (f"_{options.dtype}" if options.dtype else ""),
        f"python benchmarks/planner_accuracy.py --engine {options.engine}"
        + (f" --dtype {options.dtype}" if options.dtype else ""),
        rows,
        headline("median relative error of predicted peak memory", median, ALLOWED_MEDIAN, "10 % at most",
                 lower_is_better=True),
        packages=["mlx", "mlx-lm"] if options.engine == "mlx" else ["torch", "transformers", "peft", "bitsandbytes"],
        notes=[f"Lowest error {under:+.1%} (allowed -{ALLOWED_UNDER:.0%}), highest {over:+.1%}. Measured: {how}."],
    )  # fmt: skip


if __name__ == "__main__":
    main()
