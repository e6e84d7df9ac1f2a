"""`datasets.map` with the model's tokenizer over a JSONL file, as fine-tuning notebooks prepare data.

    PEER_PYTHON benchmarks/peers/datasets_map.py SPEC.json

SPEC: source, tokenizer (directory), before and after (template text around the document), join, end, max_length, batch.
Batched mapping with the fast tokenizer, the document cut so that prompt and summary fit. The last line of stdout is a
JSON object.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from datasets import load_dataset
from transformers import AutoTokenizer


def main() -> None:
    spec = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(spec["tokenizer"])
    before = tokenizer(spec["before"], add_special_tokens=False)["input_ids"]
    after = tokenizer(spec["after"], add_special_tokens=False)["input_ids"]
    end = tokenizer.convert_tokens_to_ids(spec["end"])

    def encode(batch):
        documents = tokenizer(batch["document"], add_special_tokens=False)["input_ids"]
        summaries = tokenizer([spec["join"] + text for text in batch["summary"]], add_special_tokens=False)["input_ids"]
        rows = {"input_ids": [], "labels": []}
        for document, summary in zip(documents, summaries, strict=True):
            room = spec["max_length"] - len(before) - len(after) - len(summary) - 1
            prompt = before + document[:room] + after
            rows["input_ids"].append(prompt + summary + [end])
            rows["labels"].append([-100] * len(prompt) + summary + [end])
        return rows

    with tempfile.TemporaryDirectory() as cache:
        began = time.perf_counter()
        data = load_dataset("json", data_files=spec["source"], split="train", cache_dir=cache)
        data = data.map(encode, batched=True, batch_size=spec["batch"], remove_columns=data.column_names)
        seconds = time.perf_counter() - began
        tokens = sum(len(row) for row in data[: min(1000, len(data))]["input_ids"])
        print("\n" + json.dumps({"seconds": seconds, "documents": len(data), "tokens_of_first_1000": tokens}))


if __name__ == "__main__":
    main()
