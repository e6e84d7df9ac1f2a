"""transformers' `model.generate`, one prompt after the other: what the usual notebook does to evaluate.

    PEER_PYTHON benchmarks/peers/transformers_generate.py SPEC.json

SPEC: model, adapter (PEFT directory), merge (whether it is added to the weights), dtype, prompts (lists of token ids),
eos_ids, max_new_tokens. Greedy. One short warm-up call is not timed. The last line of stdout is a JSON object.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM


def main() -> None:
    spec = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModelForCausalLM.from_pretrained(spec["model"], dtype=getattr(torch, spec["dtype"])).to(device)
    model = PeftModel.from_pretrained(model, spec["adapter"]).eval()
    if spec["merge"]:
        model = model.merge_and_unload()
    stop = set(spec["eos_ids"])

    def write(prompt, new_tokens):
        ids = torch.tensor([prompt], device=device)
        with torch.inference_mode():
            output = model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=new_tokens,
                do_sample=False,
                eos_token_id=spec["eos_ids"],
                pad_token_id=spec["eos_ids"][0],
            )
        found = output[0, len(prompt) :].tolist()
        end = next((place for place, token in enumerate(found) if token in stop), len(found))
        return found[:end]

    write(spec["prompts"][0], 4)
    began = time.perf_counter()
    texts = [write(prompt, spec["max_new_tokens"]) for prompt in spec["prompts"]]
    seconds = time.perf_counter() - began
    print("\n" + json.dumps({"seconds": seconds, "texts": texts}))


if __name__ == "__main__":
    main()
