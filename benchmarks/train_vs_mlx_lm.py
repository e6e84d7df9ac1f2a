"""The MLX engine against mlx-lm's own LoRA trainer: real tokens per second, peak memory, dev loss.

    python -m benchmarks.train_vs_mlx_lm --data DIALOGSUM_DIR [--rows 64] [--repeats 3]
    python -m benchmarks.train_vs_mlx_lm --inputs FOLDER --model qwen2.5-0.5b --dtype bfloat16 [--rows 1024]

A random model of Qwen2's shape with Qwen2.5-0.5B's proportions, small enough for MLX's CPU backend: the output head
keeps its 27.6 % of the matmul weights. Rows are DialogSum's, as SmolLM2's tokenizer cuts them, the ids folded into
the small vocabulary, so that lengths are real and losses can fall. Every side runs in a process of its own, in turn:
LoRA rank 16, scale 2, on all linear layers, float32, prompt masked, 16 rows an optimizer step (mlx-lm: 4 x 4). Equal
on both sides: the first matrices, a constant learning rate, Adam (corrected for bias, no weight decay, no clipping of
gradients, which mlx-lm does not have), and the rows, each seen once. What differs is in the result's notes.

The second form is for MLX's CUDA backend (or a Mac): the full shape of Qwen2.5-0.5B, and the rows and tokenizer of
train_on_gpu.py's inputs, which need no network. `--peer-python` names an interpreter that has mlx-lm where none can
be made.

Timed: from the end of the first optimizer step to the end of the last one. Tokens: without padding. Memory: the peak
of MLX's allocator in the timed part. Dev loss: both adapters by one evaluator, the torch engine in float32.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.own_training import write_rows
from benchmarks.peer_environment import peer_python, peer_versions, run_side
from benchmarks.peers.torch_device import device_facts
from benchmarks.random_models import SHAPES, build_random_model, name_rotary_base
from benchmarks.record import RESULTS, ROOT, headline, median, write_result
from benchmarks.scored_summaries import read_examples
from common.data.prompts import BUILT_IN, PromptFormat
from common.engine import LoraSpec
from common.model.adapter import adapted_linears, initial_adapter, lora_a_name, lora_b_name, write_adapter
from common.model.architecture import ModelShape, read_shape
from common.model.models import resolve_model
from common.model.tokenizer import load_tokenizer

PINS = ("mlx[cpu]==0.32.4", "mlx-lm==0.32.2")
HEAD_SHARE = 0.276  # Qwen2.5-0.5B: 151,936 x 896 of 493.9 M matmul weights
HEAD_DIM, WIDENING = 64, 4864 / 896
EXAMPLES, BATCH, ACCUMULATION = 16, 4, 4
RANK, ALPHA, WARMUP = 16, 32, 1
SIDES = ("sumkit", "mlx-lm")
DIFFERENCES = (
    "the trainers' own ways: a step holds 16 rows of nearly equal length in sumkit, four such groups of 4 in mlx-lm; "
    "sumkit weighs every target token of a step alike, mlx-lm every micro-batch of 4 rows; mlx-lm's mask trains one "
    "token of padding behind each row that is padded"
)


def main() -> None:
    """Build the model, measure the sides in turn, evaluate the adapters, write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="DialogSum's folder; or give --inputs")
    parser.add_argument("--inputs", type=Path, help="a folder of rows and tokenizer that train_on_gpu.py made")
    parser.add_argument("--model", choices=["scaled", *SHAPES], default="scaled")
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float32")
    parser.add_argument("--peer-python", type=Path)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--dev-rows", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--micro-batch-tokens", type=int, default=1024, help="sumkit's; 1024 is about mlx-lm's 4 rows")
    parser.add_argument("--compile", action="store_true", help="sumkit with --compile (mlx-lm always compiles)")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.rows % EXAMPLES:
        parser.error(f"--rows {options.rows} is no multiple of {EXAMPLES}: mlx-lm would leave the last rows untrained")
    if (options.data is None) == (options.inputs is None) or (options.model != "scaled" and options.data is not None):
        parser.error("give --data alone, or --inputs for a model of full shape")
    python = options.peer_python or peer_python("mlx-lm", PINS)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.model == "scaled":
            model, vocabulary = build_model(folder / "model", options.hidden, options.layers)
        else:
            model = build_random_model(options.model, folder / "model", options.inputs, options.dtype)
            vocabulary = read_shape(model).vocab_size
        make_rows(options, folder, vocabulary)
        measured: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
        for turn in range(options.repeats):
            for side in SIDES[:: 1 if turn % 2 == 0 else -1]:
                run = train(side, turn, options, folder, model, python)
                measured[side].append(run)
                print(
                    f"{side} {turn + 1}: {run['tokens'] / run['seconds']:.0f} tokens/s, {run['steps']} steps in "
                    f"{run['seconds']:.1f} s, {run['peak_training_bytes'] / 1e6:.0f} MB",
                    file=sys.stderr,
                    flush=True,
                )
        spec = {
            "mode": "evaluate",
            "engine": "cuda",
            "model": str(model),
            "rows": str(folder / "dev.jsonl"),
            "micro_batch_tokens": 4096,
            "adapters": {
                f"{side}-{turn}": str(folder / f"{side}-{turn}") for side in SIDES for turn in range(options.repeats)
            },
            "seed": 0,
        }
        dev = own(spec, folder)["dev_loss"]
        shape = read_shape(model)
    report(
        options,
        measured,
        dev,
        python,
        f"hidden {shape.hidden_size}, {shape.layers} layers, vocabulary {vocabulary}, the head "
        f"{head_share(shape):.1%} of the matmul weights",
    )


def build_model(directory: Path, hidden: int, layers: int) -> tuple[Path, int]:
    """A random Qwen2 in Qwen2.5-0.5B's proportions, and the vocabulary at which the head has its share."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    wide = round(hidden * WIDENING / 8) * 8
    body = layers * (2 * hidden * hidden + 2 * hidden * HEAD_DIM + 3 * hidden * wide)
    vocabulary = round(body * HEAD_SHARE / (1 - HEAD_SHARE) / hidden / 8) * 8
    config = AutoConfig.for_model(
        "qwen2",
        hidden_size=hidden,
        intermediate_size=wide,
        num_hidden_layers=layers,
        num_attention_heads=hidden // HEAD_DIM,
        num_key_value_heads=1,
        vocab_size=vocabulary,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(directory)
    name_rotary_base(directory)
    return directory, vocabulary


def head_share(shape: ModelShape) -> float:
    """The output head's part of the weights that are multiplied."""
    head = shape.hidden_size * shape.vocab_size
    return head / (head + sum(linear.in_features * linear.out_features for linear in shape.linears()))


def make_rows(options: argparse.Namespace, folder: Path, vocabulary: int) -> None:
    """train.jsonl and dev.jsonl in `folder`: the first of the given rows, or DialogSum's, every id taken modulo the
    vocabulary."""
    if options.inputs is not None:
        for source, name, count in (("rows", "train", options.rows), ("dev", "dev", options.dev_rows)):
            lines = (options.inputs / f"{source}.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)[:count]
            (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
        return
    tokenizer = load_tokenizer(resolve_model("smollm2-135m").directory)
    form = PromptFormat(BUILT_IN["chat"], tokenizer, 1024, model_name="smollm2-135m")
    read = read_examples(options.data / "train.jsonl")
    chosen = np.random.default_rng(0).permutation(len(read))[: options.rows]
    write_rows(folder / "train.jsonl", [read[index] for index in chosen], form)
    write_rows(folder / "dev.jsonl", read_examples(options.data / "dev.jsonl", options.dev_rows), form)
    for name in ("train.jsonl", "dev.jsonl"):
        rows = [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]
        folded = [{**row, "input_ids": [token % vocabulary for token in row["input_ids"]]} for row in rows]
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in folded), encoding="utf-8")


def train(side: str, turn: int, options: argparse.Namespace, folder: Path, model: Path, python: Path) -> dict[str, Any]:
    """One run of a side; its adapter is left in `folder` in PEFT's layout."""
    output = folder / f"{side}-{turn}"
    spec = {
        "model": str(model),
        "rows": str(folder / "train.jsonl"),
        "output": str(output),
        "seed": turn,
        "steps": 0,
        "warmup": WARMUP,
        "rank": RANK,
        "learning_rate": options.learning_rate,
    }
    if side == "sumkit":
        return own(
            {
                **spec,
                "mode": "train",
                "engine": "mlx",
                "dtype": options.dtype,
                "alpha": ALPHA,
                "batch_size": EXAMPLES,
                "micro_batch_tokens": options.micro_batch_tokens,
                "compile": options.compile,
                "max_grad_norm": 0.0,
            },
            folder,
        )
    start = folder / "start.safetensors"
    write_start(start, model, turn)
    theirs = {**spec, "start": str(start), "scale": ALPHA / RANK, "batch": BATCH, "accumulation": ACCUMULATION}
    (folder / "spec.json").write_text(json.dumps(theirs), encoding="utf-8")
    worker = ROOT / "benchmarks" / "peers" / "mlx_lm_lora.py"
    result = run_side([python, worker, folder / "spec.json"], folder / "side.log", {"HF_HUB_OFFLINE": "1"})
    to_peft(output, model)
    return result


def own(spec: dict[str, Any], folder: Path) -> dict[str, Any]:
    """sumkit's side in a process of its own."""
    (folder / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
    return run_side([sys.executable, "-m", "benchmarks.own_training", folder / "spec.json"], folder / "side.log")


def write_start(path: Path, model: Path, seed: int) -> None:
    """sumkit's first matrices in mlx-lm's names and shapes."""
    from safetensors.numpy import save_file

    shape, lora = read_shape(model), LoraSpec(rank=RANK, alpha=ALPHA, seed=seed)
    first = initial_adapter(shape, lora)
    weights = {}
    for linear in adapted_linears(shape, lora):
        weights[f"{linear.path}.lora_a"] = np.ascontiguousarray(first[lora_a_name(linear.path)].T)
        weights[f"{linear.path}.lora_b"] = np.ascontiguousarray(first[lora_b_name(linear.path)].T)
    save_file(weights, str(path))


def to_peft(directory: Path, model: Path) -> None:
    """mlx-lm's adapter, lora_a (in, rank) and lora_b (rank, out), in PEFT's names and shapes."""
    from safetensors.numpy import load_file

    weights = {}
    for name, value in load_file(str(directory / "adapters.safetensors")).items():
        path, _, kind = name.rpartition(".")
        weights[lora_a_name(path) if kind == "lora_a" else lora_b_name(path)] = value.T
    write_adapter(directory, weights, LoraSpec(rank=RANK, alpha=ALPHA), str(model))


def report(
    options: argparse.Namespace, measured: dict[str, list[dict[str, Any]]], dev: dict[str, float], python: Path,
    model: str,
) -> None:  # fmt: skip
    """One row for each side, the comparison, and the result file."""
    rows: list[dict[str, Any]] = []
    for side, runs in measured.items():
        losses = [dev[f"{side}-{turn}"] for turn in range(len(runs))]
        rows.append(
            {
                "side": side,
                "tokens_per_second": median([run["tokens"] / run["seconds"] for run in runs]),
                "useful_token_share": runs[0]["tokens"] / runs[0]["padded_tokens"],
                "peak_training_bytes": median([run["peak_training_bytes"] for run in runs]),
                "peak_tree_bytes": median([run["peak_tree_bytes"] for run in runs]),
                "dev_loss": sum(losses) / len(losses),
                "dev_losses": losses,
                "runs": runs,
            }
        )
    ours, peer = rows
    notes = [
        f"model: {model}, {options.dtype}; sumkit's micro-batches of at most "
        f"{options.micro_batch_tokens} tokens, compile {'on' if options.compile else 'off'}",
        f"{ours['tokens_per_second'] / peer['tokens_per_second']:.2f} x tokens per second, "
        f"{ours['peak_training_bytes'] / peer['peak_training_bytes']:.2f} x peak memory, "
        f"dev loss {ours['dev_loss']:.4f} against {peer['dev_loss']:.4f} (untuned {dev['untuned']:.4f})",
        DIFFERENCES,
        f"mlx-lm's environment: {peer_versions(python, ['mlx', 'mlx-lm'])}",
    ]
    for row in rows:
        print(f"{row['side']:<8} {row['tokens_per_second']:.0f} tokens/s  {row['peak_training_bytes'] / 1e6:.0f} MB")
    print(notes[1])
    path = write_result(
        "train_vs_mlx_lm" + ("" if options.model == "scaled" else f"_{options.model}"),
        f"python -m benchmarks.train_vs_mlx_lm --rows {options.rows} --repeats {options.repeats} "
        + ("--data dialogsum" if options.model == "scaled" else f"--inputs xsum-rows --model {options.model}"),
        rows,
        headline(
            "real tokens per second", ours["tokens_per_second"], peer["tokens_per_second"], "mlx-lm's LoRA trainer"
        ),
        packages=("mlx", "mlx-lm"),
        device=device_facts().get("name"),
        notes=notes,
        directory=options.out,
    )
    print(path)


if __name__ == "__main__":
    main()
