"""The torch engine against TRL and Unsloth on a GPU: models of the sizes people train, NF4 and 16 bits, XSum lengths.

    python -m benchmarks.train_on_gpu --inputs FOLDER [--data XSUM_DIR] [--model qwen2.5-0.5b | phi-2]
        [--precisions bfloat16 nf4-bfloat16 nf4-float16] [--turns 3] [--as-on-a-t4]

FOLDER holds the rows and a tokenizer; where it is missing it is made from XSUM_DIR (train.jsonl and dev.jsonl) with
SmolLM2's tokenizer, so that a machine without a network needs no more than that folder. Models have random weights.

Every side trains the same token ids in a process of its own: LoRA rank 16, alpha 32, all linear layers, dropout 0, at
most 1,024 tokens, 16 examples an optimizer step (TRL and Unsloth: 4 x accumulation 4), AdamW, constant learning rate,
no gradient checkpointing. Sides load together, stay loaded, and take turns, one epoch each, the order reversed every
second time. sumkit and TRL run with their defaults and with the best of a few flags, found in a short search on
the first precision. Unsloth runs where its package can be imported and knows the model.

Timed: from the end of a turn's first optimizer step to the end of its last. Tokens: without padding. Memory: the peak
of the GPU's allocator in the timed part (on a CPU resident memory). Utilisation: the FLOPs that the step needs (see
common/budget/flops.py: the head on target rows only, no gradient of frozen weights), and 4 for each weight and token
with attention, against a measured product of large matrices. Dev loss: all adapters in one float32 evaluator.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu_sides import ALPHA, EXAMPLES, OWN_FLAGS, QUANTIZE, RANK, SIDES, TRL_FLAGS, Bench, say
from benchmarks.own_training import read_rows, write_rows
from benchmarks.peer_environment import peer_python, peer_versions
from benchmarks.peers.torch_device import device_facts, matmul_rate
from benchmarks.random_models import SHAPES, build_random_model, copy_tokenizer
from benchmarks.record import RESULTS, headline, median, write_result
from benchmarks.scored_summaries import read_examples
from benchmarks.train_vs_trl import PINS
from common.budget.flops import StepCounter
from common.data.prompts import BUILT_IN, PromptFormat
from common.engine import LoraSpec
from common.model.architecture import ModelShape, read_shape
from common.model.models import resolve_model
from common.model.tokenizer import load_tokenizer

PEER_PINS = (*PINS, "bitsandbytes==0.50.2")
UNSLOTH_PINS = ("unsloth==2026.10.9", "unsloth_zoo==2026.10.9", "trl==1.15.0", "transformers==5.17.0", "psutil==7.2.2")
MAX_LENGTH, PROFILE_STEPS = 1024, 4


def main() -> None:
    """Build the model, search flags, measure in turns, evaluate the adapters, profile, write the result."""
    options = parse()
    if not options.inputs.is_dir():
        make_inputs(options)
    pythons: dict[str, Path | None] = {"TRL": options.trl_python or peer_python("trl", PEER_PINS)}
    pythons["Unsloth"] = options.unsloth_python
    if "Unsloth" in options.sides and device_facts() and not options.unsloth_python:
        pythons["Unsloth"] = peer_python("unsloth", UNSLOTH_PINS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = build_random_model(options.model, folder / "model", options.inputs)
        rows = options.inputs / "rows.jsonl"
        if options.rows:
            lines = rows.read_text(encoding="utf-8").splitlines(keepends=True)[: options.rows]
            rows = folder / "rows.jsonl"
            rows.write_text("".join(lines), encoding="utf-8")
        bench = Bench(
            folder, model, rows, pythons, options.learning_rate, options.as_on_a_t4, options.at_once,
            options.search_steps, best={"sumkit": options.best_own, "TRL": options.best_trl},
        )  # fmt: skip
        work = needed_work(read_shape(model), rows)
        found: list[dict[str, Any]] = []
        for precision in options.precisions:
            for side in ("sumkit", "TRL"):
                if not bench.best[side] and f"{side} best" in options.sides:
                    bench.find_best(side, precision)
            measured = bench.measure(options.sides, precision, options.turns)
            found += evaluate(bench, measured, precision, options, work)
        profiles = profile(bench, options)
        report(options, bench, found, profiles)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=Path, required=True, help="folder of rows and tokenizer, made if missing")
    parser.add_argument("--data", type=Path, help="XSum's folder, to make the inputs from")
    parser.add_argument("--model", choices=list(SHAPES), default="qwen2.5-0.5b")
    parser.add_argument("--precisions", nargs="+", default=["bfloat16", "nf4-bfloat16", "nf4-float16"])
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--rows", type=int, default=0, help="train on the first N rows only")
    parser.add_argument("--best-own", choices=list(OWN_FLAGS), default="", help="leaves the search out")
    parser.add_argument("--best-trl", choices=list(TRL_FLAGS), default="", help="leaves the search out")
    parser.add_argument(
        "--trl-python", type=Path, help="an interpreter that has TRL's packages, where none can be made"
    )
    parser.add_argument("--unsloth-python", type=Path, help="one that has Unsloth's")
    parser.add_argument("--as-on-a-t4", action="store_true", help="no FlashAttention, which needs a newer GPU")
    parser.add_argument("--at-once", type=int, default=4, help="sides of the search that are loaded together")
    parser.add_argument("--search-steps", type=int, default=8, help="optimizer steps of each flag tried, two not timed")
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--matmul-size", type=int, default=8192)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.rows and options.rows < EXAMPLES * options.search_steps:
        parser.error(f"--search-steps {options.search_steps} needs {EXAMPLES * options.search_steps} rows")
    if not options.inputs.is_dir() and options.data is None:
        parser.error(f"{options.inputs} is missing: give --data, a folder with XSum's train.jsonl and dev.jsonl")
    return options


def make_inputs(options: argparse.Namespace) -> None:
    """rows.jsonl, dev.jsonl (128 of them) and the tokenizer's files."""
    source = resolve_model("smollm2-135m").directory
    form = PromptFormat(BUILT_IN["chat"], load_tokenizer(source), MAX_LENGTH, model_name="smollm2-135m")
    copy_tokenizer(source, options.inputs)
    write_rows(options.inputs / "rows.jsonl", read_examples(options.data / "train.jsonl"), form)
    write_rows(options.inputs / "dev.jsonl", read_examples(options.data / "dev.jsonl", 128), form)


def needed_work(shape: ModelShape, rows: Path) -> dict[str, float]:
    """FLOPs that the training of one token takes, on average over the rows: what is needed, and by the 4 N rule."""
    lengths = [(len(item.tokens), int((item.labels >= 0).sum())) for item in read_rows(rows)]
    tokens = sum(length for length, _ in lengths)
    total = StepCounter(shape, LoraSpec(rank=RANK, alpha=ALPHA)).examples(lengths)
    weights = sum(linear.in_features * linear.out_features for linear in shape.linears())
    weights += shape.hidden_size * shape.vocab_size
    attention = (total.attention_forward + total.attention_gradients) / tokens
    return {
        "needed": total.total / tokens, "rule": 4.0 * weights + attention, "tokens": tokens, "rows": len(lengths),
        "p95": float(np.percentile([length for length, _ in lengths], 95)),
    }  # fmt: skip


def evaluate(
    bench: Bench, measured: dict[str, dict[str, Any]], precision: str, options: argparse.Namespace,
    work: dict[str, float],
) -> list[dict[str, Any]]:  # fmt: skip
    """One row for each side: medians, dev loss, utilisation."""
    quantized, _, dtype = precision.rpartition("-")
    done = {side: row for side, row in measured.items() if "failed" not in row}
    spec = {
        "mode": "evaluate", "rows": str(options.inputs / "dev.jsonl"), "micro_batch_tokens": 4096,
        "quantize": QUANTIZE["sumkit"] if quantized else "none",
        "adapters": {side: row["output"] for side, row in done.items()},
    }  # fmt: skip
    dev: dict[str, float] = bench.own(spec)["dev_loss"] if done else {}
    ceiling = matmul_rate(dtype, options.matmul_size)
    rows: list[dict[str, Any]] = []
    for side, row in measured.items():
        if side not in done:
            rows.append({"side": side, "precision": precision, "flags": row["flags"], "failed": row["failed"]})
            continue
        speed = median([turn["tokens"] / turn["seconds"] for turn in row["turns"]])
        rows.append(
            {
                "side": side,
                "precision": precision,
                "flags": row["flags"],
                "tokens_per_second": speed,
                "peak_training_bytes": median([turn["peak_training_bytes"] for turn in row["turns"]]),
                "useful_token_share": row["turns"][0]["tokens"] / row["turns"][0]["padded_tokens"],
                "utilisation_needed": speed * work["needed"] / ceiling,
                "utilisation_4n": speed * work["rule"] / ceiling,
                "matmul_flops_per_second": ceiling,
                "dev_loss": dev[side],
                "untuned_dev_loss": dev["untuned"],
                "turns": row["turns"],
            }
        )
        print(
            f"{precision:<13} {side:<12} {speed:9.0f} tokens/s  {rows[-1]['peak_training_bytes'] / 1e6:7.0f} MB  "
            f"utilisation {rows[-1]['utilisation_needed']:.1%} ({rows[-1]['utilisation_4n']:.1%} by 4N)  "
            f"dev loss {dev[side]:.4f}",
            flush=True,
        )
    return rows


def profile(bench: Bench, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Where the time of sumkit's steps goes, in each precision, with its best flags."""
    rows = []
    for precision in options.precisions if any(side.startswith("sumkit") for side in options.sides) else ():
        quantized, _, dtype = precision.rpartition("-")
        flags = bench.best["sumkit"] or "default"
        spec = {
            "mode": "profile", "rows": str(bench.rows), "steps": PROFILE_STEPS, "warmup": 1, "rank": RANK,
            "alpha": ALPHA, "batch_size": EXAMPLES, "micro_batch_tokens": 4096, "dtype": dtype,
            "learning_rate": bench.learning_rate, "quantize": QUANTIZE["sumkit"] if quantized else "none",
            **OWN_FLAGS[flags],
        }  # fmt: skip
        row = {"profile": precision, "flags": flags, **bench.own(spec)}
        rows.append(row)
        shares = sorted(row["kinds"].items(), key=lambda item: -item[1])
        say(f"profile {precision}: " + ", ".join(f"{kind} {used / row['seconds']:.0%}" for kind, used in shares))
    return rows


def report(
    options: argparse.Namespace, bench: Bench, found: list[dict[str, Any]], profiles: list[dict[str, Any]]
) -> None:
    """The comparisons, and the result file."""
    notes = []
    for precision in options.precisions:
        by_side = {row["side"]: row for row in found if row["precision"] == precision and "failed" not in row}
        for mine in ("sumkit", "sumkit best"):
            for peer in ("TRL", "TRL best", "Unsloth"):
                if mine in by_side and peer in by_side:
                    notes.append(compare(precision, by_side[mine], by_side[peer]))
                    print(notes[-1])
    compared = {(row["side"], row["precision"]): row for row in found if "failed" not in row}
    pair = [compared.get((side, options.precisions[0])) for side in ("sumkit", "TRL")]
    if pair[0] is None or pair[1] is None:
        print("sumkit and TRL did not both run: nothing to compare, no result written")
        return
    facts = device_facts()
    lent = {
        peer: peer_versions(python, ["trl", "transformers", "torch", "peft", "bitsandbytes"])
        for peer, python in bench.pythons.items()
        if python is not None
    }
    path = write_result(
        f"train_on_gpu_{options.model}" + ("_as_on_a_t4" if options.as_on_a_t4 else ""),
        f"python -m benchmarks.train_on_gpu --inputs xsum-rows --model {options.model} --turns {options.turns} "
        f"--precisions {' '.join(options.precisions)}" + (" --as-on-a-t4" if options.as_on_a_t4 else ""),
        [*found, *bench.search, *profiles],
        headline("real tokens per second", pair[0]["tokens_per_second"], pair[1]["tokens_per_second"],
                 f"TRL SFTTrainer, default flags, {options.precisions[0]}"),
        packages=("torch", "transformers", "peft", "bitsandbytes"),
        device=facts.get("name"),
        notes=[*notes, f"GPU: {facts or 'none'}", f"the peers' environments: {lent}"],
        directory=options.out,
    )  # fmt: skip
    print(path)


def compare(precision: str, mine: dict[str, Any], peer: dict[str, Any]) -> str:
    return (
        f"{precision}: {mine['side']} against {peer['side']}: "
        f"{mine['tokens_per_second'] / peer['tokens_per_second']:.2f} x tokens per second, "
        f"{mine['peak_training_bytes'] / peer['peak_training_bytes']:.2f} x peak memory, "
        f"dev loss {mine['dev_loss'] - peer['dev_loss']:+.4f}"
    )


if __name__ == "__main__":
    main()
