"""TRL's SFTTrainer on tokenized rows, timed from the end of a warm-up step to the end of the last step.

    PEER_PYTHON benchmarks/peers/trl_sft.py SPEC.json

SPEC: model, rows (JSONL with input_ids and completion_mask), output (adapter directory), seed, steps (0: one epoch),
warmup, rank, alpha, learning_rate, batch, accumulation, and `flags`, the arguments of SFTConfig that differ from its
defaults. Rows come tokenized, because prompt text tokenized in one piece can differ from ours at the borders of the
document. The last line of stdout is a JSON object. Real tokens are those that are not padding, counted from the
batches that the trainer makes.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import time
from pathlib import Path

import torch
from datasets import load_dataset
from peft import LoraConfig
from resident_memory import peak_bytes, reset_peak
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer


class Meter(TrainerCallback):
    """Clock and token count that begin when `warmup` optimizer steps are done."""

    def __init__(self, warmup: int) -> None:
        self.warmup = warmup
        self.tokens = self.padded = self.targets = 0
        self.began = self.ended = 0.0

    def on_step_end(self, args, state, control, **kwargs):
        self.ended = time.perf_counter()
        if state.global_step == self.warmup:
            self.began = self.ended
            reset_peak()

    def count(self, inputs, step):
        if step < self.warmup:
            return
        mask = inputs.get("attention_mask")
        self.tokens += int(inputs["input_ids"].numel() if mask is None else mask.sum())
        self.padded += inputs["input_ids"].numel()
        self.targets += int((inputs["labels"] != -100).sum())


class CountingTrainer(SFTTrainer):
    """SFTTrainer, its micro-batches counted."""

    meter: Meter

    def training_step(self, model, inputs, *args, **kwargs):
        self.meter.count(inputs, self.state.global_step)
        return super().training_step(model, inputs, *args, **kwargs)


def main() -> None:
    spec = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    rows = load_dataset("json", data_files=spec["rows"], split="train", cache_dir=tempfile.mkdtemp())
    rows = rows.select_columns(["input_ids", "completion_mask"])
    meter = Meter(spec["warmup"])
    config = SFTConfig(
        output_dir=tempfile.mkdtemp(),
        **{
            "use_cpu": not torch.cuda.is_available(),
            "bf16": True,
            "max_length": 1024,
            "completion_only_loss": True,
            "per_device_train_batch_size": spec["batch"],
            "gradient_accumulation_steps": spec["accumulation"],
            "gradient_checkpointing": False,
            "num_train_epochs": 1,
            "max_steps": spec["steps"] or -1,
            "learning_rate": spec["learning_rate"],
            "lr_scheduler_type": "constant",
            "max_grad_norm": 1.0,
            "weight_decay": 0.0,
            "seed": spec["seed"],
            "report_to": "none",
            "save_strategy": "no",
            "logging_strategy": "no",
            "disable_tqdm": True,
            **spec["flags"],
        },
    )
    trainer = CountingTrainer(
        model=spec["model"],
        args=config,
        train_dataset=rows,
        peft_config=LoraConfig(
            r=spec["rank"], lora_alpha=spec["alpha"], lora_dropout=0.0, target_modules="all-linear", bias="none",
            task_type="CAUSAL_LM",
        ),
        callbacks=[meter],
    )  # fmt: skip
    trainer.meter = meter
    prepared = trainer.train_dataset
    # Hash of each row's token ids, for packed rows of the whole: tells the caller that both sides train the same text.
    hashes = [hashlib.sha256(json.dumps(list(ids)).encode()).hexdigest()[:16] for ids in prepared["input_ids"]]
    trainer.train()
    trained = peak_bytes()
    if spec["output"]:
        trainer.model.save_pretrained(spec["output"])
    loss = [entry["train_loss"] for entry in trainer.state.log_history if "train_loss" in entry]
    result = {
        "seconds": meter.ended - meter.began,
        "tokens": meter.tokens,
        "padded_tokens": meter.padded,
        "target_tokens": meter.targets,
        "steps": trainer.state.global_step - spec["warmup"],
        "rows": len(prepared),
        "row_hashes": hashes,
        "prepared_tokens": sum(len(ids) for ids in prepared["input_ids"]),
        "peak_training_bytes": trained,
        "train_loss": loss[0] if loss else None,
        "threads": torch.get_num_threads(),
        "trainable": sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
    }
    print("\n" + json.dumps(result))


if __name__ == "__main__":
    main()
