"""Host memory while a sharded model is loaded: does it stream, or does it hold the whole model beside the loaded one?

    python benchmarks/loading_memory.py

A Llama-shaped model of 0.2 billion parameters in bfloat16, in shards of 60 MB, loaded by each engine on the CPU, where
the loaded weights lie in host memory too. What counts is how far the peak stands above the loaded model: on a GPU the
loaded model is not in host memory, and that excess is what stays there. Anonymous memory is counted: pages of mapped
weight files are not, for the system takes them back when it needs room.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.record import headline, write_result

HIDDEN, INTERMEDIATE, LAYERS, VOCABULARY = 1024, 2816, 16, 2048
SHARD = "60MB"
CASES = (("cuda", "4bit"), ("cuda", "none"), ("mlx", "4bit"), ("mlx", "none"))


def build(directory: Path) -> None:
    """Write the model in shards."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    config = LlamaConfig(
        hidden_size=HIDDEN, intermediate_size=INTERMEDIATE, num_hidden_layers=LAYERS, num_attention_heads=16,
        num_key_value_heads=16, vocab_size=VOCABULARY, tie_word_embeddings=False,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(directory, safe_serialization=True, max_shard_size=SHARD)


def anonymous_mb() -> float:
    """Anonymous resident memory of this process."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1e3
    raise OSError("/proc/self/status has no RssAnon; this benchmark runs on Linux")


def load(directory: Path, engine: str, quantize: str) -> dict[str, float | str]:
    """Load in this process, watching memory every few milliseconds."""
    from common.engine import EngineSpec

    spec = EngineSpec(directory, quantize=quantize, dtype="bfloat16")  # type: ignore[arg-type]
    if engine == "cuda":
        import torch

        from cuda_sum.model import import_bitsandbytes, load_model

        import_bitsandbytes(required=True)
        from transformers import AutoModelForCausalLM  # noqa: F401 - so that its import is not counted

        arguments = (spec, torch.device("cpu"), torch.bfloat16)
    else:
        import mlx.core as mx

        from mlx_sum.model import load_model  # type: ignore[assignment]

        mx.set_default_device(mx.cpu)
        mx.set_cache_limit(0)
        arguments = (spec, mx.bfloat16)  # type: ignore[assignment]
    before, peak, done = anonymous_mb(), 0.0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.is_set():
            peak = max(peak, anonymous_mb())
            time.sleep(0.003)

    watcher = threading.Thread(target=watch)
    watcher.start()
    model = load_model(*arguments)
    after = anonymous_mb()
    done.set()
    watcher.join()
    assert model is not None
    return {
        "engine": engine,
        "base": quantize,
        "loaded_mb": round(after - before, 1),
        "peak_mb": round(max(peak, after) - before, 1),
        "excess_mb": round(max(peak, after) - after, 1),
    }


def main() -> None:
    if len(sys.argv) == 4:
        print(json.dumps(load(Path(sys.argv[1]), sys.argv[2], sys.argv[3])))
        return
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "model"
        subprocess.run([sys.executable, "-c", f"import sys; sys.path.insert(0, '.'); from pathlib import Path; "
                        f"from benchmarks.loading_memory import build; build(Path({str(directory)!r}))"],
                       check=True, cwd=Path(__file__).resolve().parent.parent)  # fmt: skip
        shards = [path.stat().st_size / 1e6 for path in directory.glob("*.safetensors")]
        rows = []
        for engine, quantize in CASES:
            command = [sys.executable, __file__, str(directory), engine, quantize]
            answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            rows.append({**json.loads(answer.stdout), "files_mb": round(sum(shards), 1), "shards": len(shards)})
            print(json.dumps(rows[-1]))
    worst = max(row["excess_mb"] for row in rows)
    write_result(
        "loading_memory",
        "python benchmarks/loading_memory.py",
        rows,
        headline("MB above the loaded model, at most (against the size of the files)", max(worst, 0.1), sum(shards),
                 "whole model beside the loaded one", lower_is_better=True),
        packages=("torch", "transformers", "bitsandbytes", "safetensors", "mlx", "mlx-lm"),
    )  # fmt: skip


if __name__ == "__main__":
    main()
