"""TRL's SFTTrainer on tokenized rows, timed from the end of a warm-up step to the end of the last step.

    PEER_PYTHON benchmarks/peers/trl_sft.py SPEC.json

SPEC: model, rows (JSONL with input_ids and completion_mask), output (adapter directory), seed, steps (0: one epoch),
warmup, rank, alpha, learning_rate, batch, accumulation, and `flags`, the arguments of SFTConfig that differ from its
defaults. `dtype` (bfloat16 unless given, float16 with a gradient scaler, float32) and `quantize` (none unless given,
or nf4) say what it computes in; `as_on_a_t4` leaves it the attention kernels of older GPUs. With `turns` the model
stays loaded, each epoch is a turn of its own and begins when the benchmark says so.

Rows come tokenized, because prompt text tokenized in one piece can differ from ours at the borders of the document.
The last line of stdout is a JSON object, with `turns` one for each. Real tokens are those that are not padding,
counted from the batches that the trainer makes.
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
from torch_device import attend_as_on_a_t4, give_memory_back, peak, settle, start_peak
from transformers import BitsAndBytesConfig, TrainerCallback
from trl import SFTConfig, SFTTrainer
from turns import tell, wait_for_turn


class Meter(TrainerCallback):
    """Clock and token count of each epoch, from when `warmup` optimizer steps of it are done."""

    def __init__(self, spec) -> None:
        self.warmup, self.in_turns = spec["warmup"], bool(spec.get("turns"))
        self.results = []

    def on_epoch_begin(self, args, state, control, **kwargs):
        if self.in_turns:
            wait_for_turn()
        self.first = state.global_step
        self.tokens = self.padded = self.targets = 0
        self.began = self.ended = 0.0

    def on_step_end(self, args, state, control, **kwargs):
        self.ended = time.perf_counter()
        if state.global_step - self.first == self.warmup:
            settle()
            self.began = time.perf_counter()
            start_peak()

    def on_epoch_end(self, args, state, control, **kwargs):
        if torch.cuda.is_available():
            settle()
            self.ended = time.perf_counter()
        result = {
            "seconds": self.ended - self.began,
            "tokens": int(self.tokens),
            "padded_tokens": int(self.padded),
            "target_tokens": int(self.targets),
            "steps": state.global_step - self.first - self.warmup,
            "peak_training_bytes": peak(),
        }
        self.results.append(result)
        if self.in_turns:
            give_memory_back()
            tell(result)

    def count(self, inputs, step):
        """Sums stay on the device, so that the trainer does not wait for them."""
        if step - self.first < self.warmup:
            return
        mask = inputs.get("attention_mask")
        self.tokens = self.tokens + (inputs["input_ids"].numel() if mask is None else mask.sum())
        self.padded += inputs["input_ids"].numel()
        self.targets = self.targets + (inputs["labels"] != -100).sum()


class CountingTrainer(SFTTrainer):
    """SFTTrainer, its micro-batches counted."""

    meter: Meter

    def training_step(self, model, inputs, *args, **kwargs):
        self.meter.count(inputs, self.state.global_step)
        return super().training_step(model, inputs, *args, **kwargs)


def settings(spec) -> dict:
    """The arguments of SFTConfig."""
    given = {
        "use_cpu": not torch.cuda.is_available(),
        "bf16": spec.get("dtype", "bfloat16") == "bfloat16",
        "fp16": spec.get("dtype") == "float16",
        "max_length": 1024,
        "completion_only_loss": True,
        "per_device_train_batch_size": spec["batch"],
        "gradient_accumulation_steps": spec["accumulation"],
        "gradient_checkpointing": False,
        "num_train_epochs": spec.get("turns") or 1,
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
    }
    if spec.get("quantize") == "nf4":
        dtype = getattr(torch, spec.get("dtype", "bfloat16"))
        quantization = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
        loading = {"dtype": dtype, "quantization_config": quantization}
        given["model_init_kwargs"] = {**given.get("model_init_kwargs", {}), **loading}
    return given


def train(spec, model, peft_config) -> None:
    """Train `model`, a directory or a model that has its adapter already (`peft_config` None), and print the result."""
    if spec.get("as_on_a_t4"):
        attend_as_on_a_t4()
    rows = load_dataset("json", data_files=spec["rows"], split="train", cache_dir=tempfile.mkdtemp())
    rows = rows.select_columns(["input_ids", "completion_mask"])
    meter = Meter(spec)
    config = SFTConfig(output_dir=tempfile.mkdtemp(), **settings(spec))
    trainer = CountingTrainer(model=model, args=config, train_dataset=rows, peft_config=peft_config, callbacks=[meter])
    trainer.meter = meter
    prepared = trainer.train_dataset
    # Hash of each row's token ids, for packed rows of the whole: tells the caller that both sides train the same text.
    hashes = [hashlib.sha256(json.dumps(list(ids)).encode()).hexdigest()[:16] for ids in prepared["input_ids"]]
    trainer.train()
    if spec["output"]:
        trainer.model.save_pretrained(spec["output"])
    loss = [entry["train_loss"] for entry in trainer.state.log_history if "train_loss" in entry]
    result = {
        **meter.results[-1],
        "rows": len(prepared),
        "row_hashes": hashes,
        "prepared_tokens": sum(len(ids) for ids in prepared["input_ids"]),
        "train_loss": loss[0] if loss else None,
        "threads": torch.get_num_threads(),
        "trainable": sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
    }
    if spec.get("turns"):
        tell(result)
    else:
        print("\n" + json.dumps(result))


def main() -> None:
    spec = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    lora = LoraConfig(
        r=spec["rank"], lora_alpha=spec["alpha"], lora_dropout=0.0, target_modules="all-linear", bias="none",
        task_type="CAUSAL_LM",
    )  # fmt: skip
    train(spec, spec["model"], lora)


if __name__ == "__main__":
    main()
