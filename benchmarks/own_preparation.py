"""sumkit's side of the data benchmark, in a process of its own: `python -m benchmarks.own_preparation SPEC.json`.

SPEC: source (JSONL), tokenizer (model directory), template, max_length, store (folder), stop_after (end the process in
the middle, behind this many parts; 0: go on to the end), batch_size. Prepares the file into the store and plans an
epoch. The last line of stdout is a JSON object.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from common.data import stored_set
from common.data.batching import plan_epoch
from common.data.prompts import BUILT_IN, PromptFormat
from common.model.tokenizer import load_tokenizer
from common.settings import DataSettings


def prepare(spec: dict[str, Any]) -> dict[str, Any]:
    """Seconds of preparation and of the batch plan; documents, tokens."""
    tokenizer = load_tokenizer(Path(spec["tokenizer"]))
    form = PromptFormat(BUILT_IN[spec["template"]], tokenizer, spec["max_length"])
    if spec["stop_after"]:
        _die_behind(spec["stop_after"])
    began = time.perf_counter()
    stored = stored_set.store_training_file(Path(spec["source"]), DataSettings(), form, Path(spec["store"]))
    prepared = time.perf_counter()
    plan = plan_epoch(stored.examples, spec["batch_size"], seed=0, epoch=0)
    return {
        "seconds": time.perf_counter() - began,
        "plan_seconds": time.perf_counter() - prepared,
        "documents": len(stored.examples),
        "tokens": stored.encode_report.tokens,
        "steps": len(plan),
        "first_step": plan[0],
        "report": stored.data_report.lines(),
    }


def _die_behind(parts: int) -> None:
    """End the process, as a lost machine would, when so many parts are written."""
    write = stored_set.write_part

    def counted(directory: Path, number: int, *rest: Any) -> None:
        if number == parts:
            print("\n" + json.dumps({"stopped_behind": parts}), flush=True)
            os._exit(0)
        write(directory, number, *rest)

    stored_set.write_part = counted


if __name__ == "__main__":
    print("\n" + json.dumps(prepare(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))))
