"""sumkit's side of a generation benchmark, in a process of its own: `python -m benchmarks.own_generation SPEC.json`.

SPEC: model, adapter (PEFT directory), dtype, prompts (lists of token ids), eos_ids, max_new_tokens,
max_batch_tokens, max_batch_rows. Generates as `sumkit eval` does, through the engine, all prompts in one call. One
short warm-up call is not timed. The last line of stdout is a JSON object.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

from common.engine import EngineSpec, GenerationSpec, load_engine
from common.model.adapter import read_adapter


def generate(spec: dict[str, Any]) -> dict[str, Any]:
    """Seconds, and the generated token ids in the prompts' order."""
    stored = read_adapter(Path(spec["adapter"]))
    built = EngineSpec(Path(spec["model"]), quantize="none", dtype=spec["dtype"], lora=stored.lora)
    engine = load_engine("cuda", built)
    engine.load_adapter(stored.weights)
    limits = {name: spec[name] for name in ("max_new_tokens", "max_batch_tokens", "max_batch_rows")}
    how = GenerationSpec(eos_ids=tuple(spec["eos_ids"]), **limits)
    engine.generate(spec["prompts"][:1], dataclasses.replace(how, max_new_tokens=4))
    began = time.perf_counter()
    results = engine.generate(spec["prompts"], how)
    seconds = time.perf_counter() - began
    return {
        "seconds": seconds,
        "texts": [list(result.tokens) for result in results],
        "stopped_by_eos": sum(result.stop_reason == "eos" for result in results),
    }


if __name__ == "__main__":
    print("\n" + json.dumps(generate(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))))
