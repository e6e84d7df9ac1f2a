"""mlx-lm's LoRA trainer on tokenized rows, timed from the end of a warm-up step to the end of the last step.

    PEER_PYTHON benchmarks/peers/mlx_lm_lora.py SPEC.json

What `mlx_lm.lora --train --mask-prompt` runs, its functions called in its order; only the rows come tokenized, so that
both sides train the same ids, Adam is corrected for bias (its `optimizer_config`), as sumkit's is: uncorrected
first steps are three times as large, and the matrices start as sumkit's do (the same distribution, the same draw).

SPEC: model, rows (JSONL with input_ids and completion_mask), start (the first matrices), output (folder), seed,
steps (optimizer steps, 0: one epoch), warmup, rank, scale, learning_rate, batch, accumulation. The last line of stdout
is a JSON object. Real tokens are those of the batches that the trainer makes, without padding.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import mlx.core as mx
import mlx.optimizers as optimizers
from mlx_lm.tuner.callbacks import TrainingCallback
from mlx_lm.tuner.datasets import CacheDataset
from mlx_lm.tuner.trainer import TrainingArgs, iterate_batches, train
from mlx_lm.tuner.utils import linear_to_lora_layers
from mlx_lm.utils import load_model


class Rows:
    """A data set as the trainer's: `process` gives the token ids and where the completion begins."""

    def __init__(self, path: str) -> None:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
        self._rows = [json.loads(line) for line in lines]

    def __len__(self):
        return len(self._rows)

    def __getitem__(self, index):
        return self._rows[index]

    def process(self, row):
        return row["input_ids"], row["completion_mask"].index(1)


class Meter(TrainingCallback):
    """Clock and token count that begin when `warmup` iterations are done."""

    def __init__(self, warmup: int) -> None:
        self.warmup = warmup
        self.began = self.ended = 0.0
        self.tokens = self.padded = self.tokens_before = self.padded_before = 0
        self.losses = []

    def batches(self, **arguments):
        for batch, lengths in iterate_batches(**arguments):
            self.tokens += int(lengths[:, 1].sum())
            self.padded += batch.size
            yield batch, lengths

    def on_train_loss_report(self, report):
        self.ended = time.perf_counter()
        self.losses.append(report["train_loss"])
        if report["iteration"] == self.warmup:
            self.began, self.tokens_before, self.padded_before = self.ended, self.tokens, self.padded
            mx.clear_cache()
            mx.reset_peak_memory()


def main() -> None:
    spec = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    mx.random.seed(spec["seed"])
    model, _ = load_model(Path(spec["model"]))
    rows = Rows(spec["rows"])
    model.freeze()
    linear_to_lora_layers(model, -1, {"rank": spec["rank"], "scale": spec["scale"], "dropout": 0.0})
    model.load_weights(spec["start"], strict=False)
    iterations = spec["steps"] * spec["accumulation"] or len(rows) // spec["batch"]
    folder = Path(spec["output"])
    folder.mkdir(parents=True, exist_ok=True)
    meter = Meter(spec["warmup"] * spec["accumulation"])
    train(
        model=model,
        optimizer=optimizers.Adam(learning_rate=spec["learning_rate"], bias_correction=True),
        train_dataset=CacheDataset(rows),
        args=TrainingArgs(
            batch_size=spec["batch"],
            iters=iterations,
            steps_per_report=spec["accumulation"],
            steps_per_save=10**9,
            max_seq_length=1024,
            grad_accumulation_steps=spec["accumulation"],
            adapter_file=str(folder / "adapters.safetensors"),
        ),
        iterate_batches=meter.batches,
        training_callback=meter,
    )
    result = {
        "seconds": meter.ended - meter.began,
        "tokens": meter.tokens - meter.tokens_before,
        "padded_tokens": meter.padded - meter.padded_before,
        "steps": iterations // spec["accumulation"] - spec["warmup"],
        "rows": len(rows),
        "peak_training_bytes": mx.get_peak_memory(),
        "train_loss": sum(meter.losses) / len(meter.losses),
    }
    print("\n" + json.dumps(result))


if __name__ == "__main__":
    main()
