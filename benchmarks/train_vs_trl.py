"""The torch engine against TRL's SFTTrainer: real tokens per second, peak memory, dev loss.

    python -m benchmarks.train_vs_trl --data DIALOGSUM_DIR [--rows 256] [--repeats 3] [--only sumkit default best]

DIALOGSUM_DIR holds train.jsonl and dev.jsonl. Every side runs in a process of its own, the sides in turn, on the
same weights, rows and token ids: LoRA rank 16, alpha 32, all linear layers, dropout 0; bfloat16; at most 1,024 tokens;
16 examples an optimizer step (TRL: 4 x accumulation 4; packed rows: 1 x 4, the nearest); AdamW, constant learning
rate; no gradient checkpointing. TRL runs with its defaults, and with the flags that a short search found best.

Timed: from the end of the first optimizer step to the end of the last one. Loading, data preparation, saving and
evaluation are outside. Tokens: those of the trained rows without padding. Memory: the process's peak resident set
in the timed part, and that of its process tree over its whole life. Dev loss: every adapter in one float32 evaluator.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.own_training import write_rows
from benchmarks.peer_environment import SideError, peer_python, peer_versions, run_side
from benchmarks.record import RESULTS, ROOT, headline, median, write_result
from benchmarks.scored_summaries import read_examples
from common.data.prompts import BUILT_IN, PromptFormat, automatic_template
from common.model.models import resolve_model
from common.model.tokenizer import load_tokenizer

PINS = (
    "trl==1.16.0",
    "torch==2.13.0",
    "transformers==5.23.0",
    "peft==0.21.2",
    "datasets==5.2.0",
    "accelerate==1.15.0",
    "liger-kernel==0.8.5",
    "psutil==7.2.2",
)
HALF = {"model_init_kwargs": {"dtype": "bfloat16"}}  # TRL loads in float32 and casts at every use otherwise
GROUPED = {"train_sampling_strategy": "group_by_length"}
PADDING_FREE = {"padding_free": True, "max_length": None}  # TRL takes it only without a length limit; no row is longer
CANDIDATES: dict[str, dict[str, Any]] = {
    "default": {},
    "bfloat16 weights": HALF,
    "grouped by length": GROUPED,
    "grouped by length, bfloat16 weights": {**GROUPED, **HALF},
    "packed, bfloat16 weights": {"packing": True, **HALF},
    "padding-free, bfloat16 weights": {**PADDING_FREE, **HALF},
    "grouped, padding-free, bfloat16 weights": {**GROUPED, **PADDING_FREE, **HALF},
    "Liger kernels, grouped, bfloat16 weights": {"use_liger_kernel": True, **GROUPED, **HALF},
}
EXAMPLES, BATCH, ACCUMULATION = 16, 4, 4
RANK, ALPHA, MAX_LENGTH, WARMUP = 16, 32, 1024, 1


def main() -> None:
    """Prepare the rows, search TRL's flags, measure in turn, evaluate the adapters, write the result."""
    arguments = parse()
    python = peer_python("trl", PINS)
    model = resolve_model(arguments.model)
    tokenizer = load_tokenizer(model.directory)
    form = PromptFormat(
        BUILT_IN[automatic_template(tokenizer, arguments.model)], tokenizer, MAX_LENGTH, model_name=arguments.model
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        read = read_examples(arguments.data / "train.jsonl")
        chosen = np.random.default_rng(0).permutation(len(read))[: arguments.rows]
        rows = write_rows(folder / "rows.jsonl", [read[index] for index in chosen], form)
        write_rows(folder / "dev.jsonl", read_examples(arguments.data / "dev.jsonl", arguments.dev_rows), form)
        hashes = {hash_of(item.tokens.tolist()) for item in rows}
        bench = Bench(arguments, folder, model.directory, python, hashes)
        search = bench.search()
        measured = bench.measure(search)
        dev = bench.evaluate(measured)
    report(arguments, search, measured, dev, python)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--dev-rows", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--only", nargs="+", choices=["sumkit", "default", "best"], default=["sumkit", "default", "best"]
    )
    parser.add_argument("--best", choices=list(CANDIDATES), help="TRL's best flags, if known: leaves the search out")
    parser.add_argument("--search-steps", type=int, default=3, help="optimizer steps of each candidate, one not timed")
    parser.add_argument("--micro-batch-tokens", type=int, default=4096, help="sumkit's own default")
    parser.add_argument("--compile", action="store_true", help="sumkit with --compile")
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args()


class Bench:
    """The sides and what they share."""

    def __init__(
        self, arguments: argparse.Namespace, folder: Path, model: Path, python: Path, hashes: set[str]
    ) -> None:
        self.arguments, self.folder, self.model, self.python, self.hashes = arguments, folder, model, python, hashes
        self.log = folder / "side.log"

    def search(self) -> list[dict[str, Any]]:
        """Every candidate on a few steps, best first; those that fail come last with the reason."""
        options = self.arguments
        if "best" not in options.only:
            return []
        if options.best:
            return [{"flags": options.best}]
        found: list[dict[str, Any]] = []
        for name in CANDIDATES:
            try:
                result = self.trl(name, 0, options.search_steps, save=False)
            except SideError as error:
                reason = str(error).splitlines()[-1]
                found.append({"flags": name, "failed": reason})
                say(f"search: {name}: does not run here: {reason}")
                continue
            rate = result["tokens"] / result["seconds"]
            found.append(
                {"flags": name, "tokens_per_second": rate, "peak_training_bytes": result["peak_training_bytes"]}
            )
            say(f"search: {name}: {rate:.0f} tokens/s, {result['peak_training_bytes'] / 1e6:.0f} MB")
        return sorted(found, key=lambda row: -row.get("tokens_per_second", 0.0))

    def measure(self, search: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
        """Each side `repeats` times, in turn, the order reversed every second time."""
        options = self.arguments
        flags = {"default": "default", "best": search[0]["flags"] if search else ""}
        measured: dict[str, list[dict[str, Any]]] = {side: [] for side in options.only}
        for turn in range(options.repeats):
            for side in options.only[:: 1 if turn % 2 == 0 else -1]:
                run = self.sumkit(turn) if side == "sumkit" else self.trl(flags[side], turn, 0, save=True)
                measured[side].append(run)
                say(
                    f"{side} {turn + 1}: {run['tokens'] / run['seconds']:.0f} tokens/s, {run['steps']} steps in "
                    f"{run['seconds']:.1f} s, {run['peak_training_bytes'] / 1e6:.0f} MB"
                )
        return measured

    def sumkit(self, turn: int) -> dict[str, Any]:
        spec = self._spec(turn, 0, str(self.folder / f"sumkit-{turn}"))
        mine = {
            "mode": "train",
            "engine": "cuda",
            "dtype": "bfloat16",
            "batch_size": EXAMPLES,
            "micro_batch_tokens": self.arguments.micro_batch_tokens,
            "compile": self.arguments.compile,
        }
        return self._own({**spec, **mine})

    def trl(self, flags: str, turn: int, steps: int, save: bool) -> dict[str, Any]:
        side = "default" if flags == "default" else "best"
        packed = "packing" in CANDIDATES[flags]
        spec = {
            **self._spec(turn, steps, str(self.folder / f"{side}-{turn}") if save else ""),
            "batch": 1 if packed else BATCH,
            "accumulation": ACCUMULATION,
            "flags": CANDIDATES[flags],
        }
        path = self.folder / "spec.json"
        path.write_text(json.dumps(spec), encoding="utf-8")
        worker = ROOT / "benchmarks" / "peers" / "trl_sft.py"
        result = run_side([self.python, worker, path], self.log, {"HF_HUB_OFFLINE": "1"})
        hashes = result.pop("row_hashes")
        if not packed and set(hashes) != self.hashes:
            sys.exit(
                f"TRL made other token ids of {len(set(hashes) - self.hashes)} of {len(hashes)} rows; not comparable"
            )
        return result

    def evaluate(self, measured: dict[str, list[dict[str, Any]]]) -> dict[str, float]:
        """Dev loss of every adapter, by the same evaluator."""
        adapters = {
            f"{side}-{turn}": str(self.folder / f"{side}-{turn}")
            for side, runs in measured.items()
            for turn in range(len(runs))
        }
        spec = {
            "mode": "evaluate",
            "engine": "cuda",
            "model": str(self.model),
            "rows": str(self.folder / "dev.jsonl"),
            "micro_batch_tokens": 4096,
            "adapters": adapters,
            "seed": 0,
        }
        losses: dict[str, float] = self._own(spec)["dev_loss"]
        return losses

    def _spec(self, turn: int, steps: int, output: str) -> dict[str, Any]:
        return {
            "model": str(self.model),
            "rows": str(self.folder / "rows.jsonl"),
            "output": output,
            "seed": turn,
            "steps": steps,
            "warmup": WARMUP,
            "rank": RANK,
            "alpha": ALPHA,
            "learning_rate": self.arguments.learning_rate,
        }

    def _own(self, spec: dict[str, Any]) -> dict[str, Any]:
        path = self.folder / "spec.json"
        path.write_text(json.dumps(spec), encoding="utf-8")
        return run_side([sys.executable, "-m", "benchmarks.own_training", path], self.log)


def report(
    arguments: argparse.Namespace,
    search: list[dict[str, Any]],
    measured: dict[str, list[dict[str, Any]]],
    dev: dict[str, float],
    python: Path,
) -> None:
    """One row for each side, the comparisons, and the result file."""
    rows: list[dict[str, Any]] = []
    for side, runs in measured.items():
        losses = [dev[f"{side}-{turn}"] for turn in range(len(runs))]
        rows.append(
            {
                "side": side if side == "sumkit" else f"TRL {side}",
                "flags": {
                    "sumkit": "--compile" if arguments.compile else "",
                    "default": "",
                    "best": search[0]["flags"] if search else "",
                }[side],
                "tokens_per_second": median([run["tokens"] / run["seconds"] for run in runs]),
                "useful_token_share": runs[0]["tokens"] / runs[0]["padded_tokens"],
                "peak_training_bytes": median([run["peak_training_bytes"] for run in runs]),
                "peak_tree_bytes": median([run["peak_tree_bytes"] for run in runs]),
                "dev_loss": sum(losses) / len(losses),
                "dev_losses": losses,
                "runs": runs,
            }
        )
        print(
            f"{rows[-1]['side']:<12} {rows[-1]['tokens_per_second']:7.0f} tokens/s  peak in training "
            f"{rows[-1]['peak_training_bytes'] / 1e6:6.0f} MB  dev loss {rows[-1]['dev_loss']:.4f}"
        )
    by_side = dict(zip(measured, rows, strict=True))
    notes = [f"dev loss of the untuned model {dev['untuned']:.4f}, over {arguments.dev_rows} dev rows"]
    if "sumkit" not in by_side or len(by_side) == 1:
        print("one side only: nothing to compare, no result written")
        return
    ours = by_side["sumkit"]
    for side in [side for side in by_side if side != "sumkit"]:
        peer = by_side[side]
        notes.append(
            f"against TRL {side}: {ours['tokens_per_second'] / peer['tokens_per_second']:.2f} x tokens per second, "
            f"{ours['peak_training_bytes'] / peer['peak_training_bytes']:.2f} x peak memory in training, "
            f"dev loss {ours['dev_loss'] - peer['dev_loss']:+.4f}"
        )
        print(notes[-1])
    peer_side = "default" if "default" in by_side else "best"
    path = write_result(
        "train_vs_trl",
        f"python -m benchmarks.train_vs_trl --data dialogsum --rows {arguments.rows} --repeats {arguments.repeats}"
        + (" --compile" if arguments.compile else "")
        + (f' --best "{arguments.best}"' if arguments.best else ""),
        [*rows, *({"search": True, **row} for row in search)],
        {
            **headline(
                "real tokens per second", ours["tokens_per_second"], by_side[peer_side]["tokens_per_second"],
                f"TRL SFTTrainer, {peer_side} flags",
            ),
        },
        packages=("torch", "transformers", "peft"),
        notes=[*notes, f"TRL's environment: {peer_versions(python, [pin.split('==')[0] for pin in PINS])}"],
        directory=arguments.out,
    )  # fmt: skip
    print(path)


def hash_of(ids: list[int]) -> str:
    """The peer's hash of a row's token ids."""
    return hashlib.sha256(json.dumps(ids).encode()).hexdigest()[:16]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
