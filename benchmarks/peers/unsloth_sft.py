"""Unsloth's patched model in TRL's SFTTrainer, measured as trl_sft.py measures it, by the same SPEC.

    PEER_PYTHON benchmarks/peers/unsloth_sft.py SPEC.json

Needs a GPU: the package refuses to be imported without one. It knows no Phi-2.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import unsloth  # noqa: F401  # first, as it asks for: it patches what the others import
from trl_sft import train
from unsloth import FastLanguageModel

LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def main() -> None:
    spec = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    model, _ = FastLanguageModel.from_pretrained(
        model_name=spec["model"],
        max_seq_length=1024,
        dtype=getattr(torch, spec["dtype"]),
        load_in_4bit=spec["quantize"] == "nf4",
    )
    model = FastLanguageModel.get_peft_model(
        model,
        r=spec["rank"],
        lora_alpha=spec["alpha"],
        lora_dropout=0.0,
        target_modules=list(LINEARS),
        bias="none",
        use_gradient_checkpointing=False,
        random_state=spec["seed"],
    )
    train({**spec, "quantize": "none"}, model, None)


if __name__ == "__main__":
    main()
