"""Summaries of an evaluation: sumkit's batched generation against `model.generate` for one document after the other.

    python -m benchmarks.generate_vs_transformers --run RUN --data DIALOGSUM_DIR [--limit 200] [--repeats 3]

RUN is a finished run. Every side runs in a process of its own, in turn, on the same weights, adapter, prompts, stop
tokens and limits, greedily; transformers runs in an environment of its own. In float32 both sides add the adapter to
the weights; in bfloat16, where adding would round it away in part, neither does. Loading and a first short call are
not timed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.peer_environment import peer_python, peer_versions, run_side
from benchmarks.record import RESULTS, ROOT, headline, median, write_result
from benchmarks.scored_summaries import read_examples
from benchmarks.train_vs_trl import PINS
from common.engine import GenerationSpec
from common.run.directory import open_run
from common.run.model_prompt import open_prompt
from common.run.preparation import generation_spec

SIDES = ("sumkit", "transformers")


def main() -> None:
    """Measure both sides in each precision, compare the texts, write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder with dev.jsonl, or a JSONL file")
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"], choices=["float32", "bfloat16"])
    parser.add_argument("--batch-rows", type=int, default=GenerationSpec().max_batch_rows)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    python = peer_python("trl", PINS)
    run, config, template = open_run(options.run)
    opened = open_prompt(config, template)
    model, form = opened.model, opened.form
    how = generation_spec(config, form.eos_ids)
    file = options.data / "dev.jsonl" if options.data.is_dir() else options.data
    documents = [example.document for example in read_examples(file, options.limit)]
    spec = {
        "model": str(model.directory),
        "adapter": str(run.adapter),
        "prompts": [list(prompt.tokens) for prompt in form.prompts(documents, how.max_new_tokens)],
        "eos_ids": list(how.eos_ids),
        "max_new_tokens": how.max_new_tokens,
        "max_batch_tokens": how.max_batch_tokens,
        "max_batch_rows": options.batch_rows,
    }
    rows = [measure({**spec, "dtype": dtype, "merge": dtype == "float32"}, python, options) for dtype in options.dtypes]
    first = rows[0]
    path = write_result(
        "generate_vs_transformers",
        f"python -m benchmarks.generate_vs_transformers --run RUN --data {options.data.name} --limit {options.limit} "
        f"--dtypes {' '.join(options.dtypes)}",
        rows,
        headline(
            f"seconds for {len(documents)} summaries, {first['dtype']}",
            first["sumkit_seconds"],
            first["transformers_seconds"],
            "transformers model.generate, one by one",
            lower_is_better=True,
        ),
        packages=("torch", "transformers", "peft"),
        notes=[
            f"model {config.model.model}, at most {how.max_new_tokens} new tokens; sumkit's batches of at most "
            f"{options.batch_rows} rows and {how.max_batch_tokens} tokens",
            f"the peer's environment: {peer_versions(python, ['torch', 'transformers', 'peft'])}",
        ],
        directory=options.out,
    )
    print(path)


def measure(spec: dict[str, Any], python: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Both sides in turn in one precision; medians, and how many texts are the same."""
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spec.json"
        path.write_text(json.dumps(spec), encoding="utf-8")
        commands: dict[str, Sequence[str | Path]] = {
            "sumkit": [sys.executable, "-m", "benchmarks.own_generation", path],
            "transformers": [python, ROOT / "benchmarks" / "peers" / "transformers_generate.py", path],
        }
        for turn in range(options.repeats):
            for side in SIDES[:: 1 if turn % 2 == 0 else -1]:
                result = run_side(commands[side], Path(folder) / "side.log", {"HF_HUB_OFFLINE": "1"})
                runs[side].append(result)
                print(f"{spec['dtype']} {side} {turn + 1}: {result['seconds']:.1f} s", file=sys.stderr, flush=True)
    ours, theirs = runs["sumkit"][0]["texts"], runs["transformers"][0]["texts"]
    same = sum(mine == text for mine, text in zip(ours, theirs, strict=True))
    seconds = {side: [run["seconds"] for run in runs[side]] for side in SIDES}
    row = {
        "dtype": spec["dtype"],
        "summaries": len(ours),
        "prompt_tokens": sum(map(len, spec["prompts"])),
        "new_tokens": sum(map(len, ours)),
        "stopped_by_eos": runs["sumkit"][0]["stopped_by_eos"],
        "same_texts": same,
        "same_share": same / len(ours),
        "peak_tree_bytes": {side: median([run["peak_tree_bytes"] for run in runs[side]]) for side in SIDES},
        **{f"{side}_seconds": median(seconds[side]) for side in SIDES},
        "ratio": median(seconds["transformers"]) / median(seconds["sumkit"]),
        "seconds": seconds,
    }
    print(
        f"{row['dtype']}: sumkit {row['sumkit_seconds']:.1f} s, transformers {row['transformers_seconds']:.1f} s, "
        f"{row['ratio']:.2f} x, {same} of {len(ours)} texts the same"
    )
    return row


if __name__ == "__main__":
    main()
