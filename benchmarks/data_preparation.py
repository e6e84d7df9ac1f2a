"""Preparing a large training set: documents per second and memory, against `datasets.map` with the same tokenizer.

    python -m benchmarks.data_preparation --data XSUM_DIR [--documents 300000] [--repeats 3]

Articles are generated: as many words as XSum's articles have (lengths drawn from XSUM_DIR/train.jsonl), sentences
shuffled from all of its articles, so that words, spelling and length are real and no two are alike. sumkit cleans,
looks for exact duplicates, fills the template, tokenizes, writes memory-mapped parts and plans an epoch; `datasets.map`
tokenizes and writes Arrow. Each runs in a process of its own, in turn. Then sumkit is stopped half way through and
started again: the rest has to take the rest of the time, and the result has to be the same.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peer_environment import peer_python, peer_versions, run_side
from benchmarks.record import RESULTS, ROOT, headline, median, write_result
from benchmarks.scored_summaries import read_examples
from benchmarks.train_vs_trl import PINS
from common.data.prompts import BUILT_IN, PromptFormat
from common.data.stored_set import PART_ROWS
from common.metrics.sentences import split_sentences
from common.model.models import resolve_model
from common.model.tokenizer import load_tokenizer

ALLOWED_PEAK = 1.5e9
TEMPLATE, MAX_LENGTH = "article", 1024


def main() -> None:
    """Generate the articles, prepare them by both sides in turn, interrupt and resume, write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--documents", type=int, default=300_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peer-documents", type=int, default=0, help="the peer's own number (0: the same)")
    parser.add_argument("--model", default="smollm2-135m", help="whose tokenizer is used")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    python = peer_python("trl", PINS)
    model = resolve_model(options.model)
    tokenizer = load_tokenizer(model.directory)
    form = PromptFormat(BUILT_IN[TEMPLATE], tokenizer, MAX_LENGTH)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "train.jsonl"
        words = generate(options.data / "train.jsonl", source, options.documents)
        part = folder / "peer.jsonl"
        count = options.peer_documents or options.documents
        with source.open(encoding="utf-8") as lines, part.open("w", encoding="utf-8") as file:
            file.writelines(line for _, line in zip(range(count), lines, strict=False))
        mine = {
            "source": str(source), "tokenizer": str(model.directory), "template": TEMPLATE, "max_length": MAX_LENGTH,
            "store": str(folder / "store"), "stop_after": 0, "batch_size": 16,
        }  # fmt: skip
        theirs = {
            "source": str(part), "tokenizer": str(model.directory), "before": form.markup[0], "after": form.markup[1],
            "join": form.template.join, "end": tokenizer.decode_all([form.eos_id]), "max_length": MAX_LENGTH,
            "batch": 1000,
        }  # fmt: skip
        worker = ROOT / "benchmarks" / "peers" / "datasets_map.py"
        sides = {
            "sumkit": ([sys.executable, "-m", "benchmarks.own_preparation"], mine),
            "datasets.map": ([python, worker], theirs),
        }
        runs: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
        for turn in range(options.repeats):
            for side in list(sides)[:: 1 if turn % 2 == 0 else -1]:
                shutil.rmtree(folder / "store", ignore_errors=True)
                runs[side].append(run(*sides[side], folder))
                show(side, runs[side][-1])
        shutil.rmtree(folder / "store", ignore_errors=True)
        command = sides["sumkit"][0]
        run(command, {**mine, "stop_after": options.documents // PART_ROWS // 2 + 1}, folder)
        resumed = run(command, mine, folder)
        show("sumkit, resumed half way", resumed)
    report(options, runs, resumed, words, python)


def generate(examples: Path, target: Path, count: int) -> float:
    """Write `count` articles as JSONL; returns their mean number of words. The same ones every time."""
    read = read_examples(examples)
    lengths = np.array([len(example.document.split()) for example in read])
    sentences = np.array([part for example in read for part in split_sentences(example.document)], dtype=object)
    sizes = np.array([len(sentence.split()) for sentence in sentences])
    summaries = [example.summary for example in read]
    generator = np.random.default_rng(0)
    total = 0
    with target.open("w", encoding="utf-8") as file:
        for number in range(count):
            wanted = int(generator.choice(lengths))
            picked = generator.integers(0, len(sentences), 8 + wanted // 8)
            held = int(np.searchsorted(np.cumsum(sizes[picked]), wanted)) + 1
            total += int(sizes[picked[:held]].sum())
            summary = summaries[int(generator.integers(len(summaries)))]
            text = "\n".join(sentences[picked[:held]])
            file.write(json.dumps({"id": f"article-{number}", "document": text, "summary": summary}) + "\n")
    return total / count


def run(command: list[Any], spec: dict[str, Any], folder: Path) -> dict[str, Any]:
    path = folder / "spec.json"
    path.write_text(json.dumps(spec), encoding="utf-8")
    return run_side([*command, path], folder / "side.log", {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true"})


def show(side: str, result: dict[str, Any]) -> None:
    rate = result["documents"] / result["seconds"]
    peak = result["peak_tree_bytes"] / 1e6
    print(f"{side}: {rate:.0f} documents/s, {result['seconds']:.1f} s, peak {peak:.0f} MB", file=sys.stderr, flush=True)


def report(
    options: argparse.Namespace,
    runs: dict[str, list[dict[str, Any]]],
    resumed: dict[str, Any],
    words: float,
    python: Path,
) -> None:
    """One row for each side and the resumed run, and the result file."""
    rows: list[dict[str, Any]] = [
        {
            "side": side,
            "documents": results[0]["documents"],
            "documents_per_second": median([result["documents"] / result["seconds"] for result in results]),
            "peak_tree_bytes": max(result["peak_tree_bytes"] for result in results),
            "runs": results,
        }
        for side, results in runs.items()
    ]
    whole = runs["sumkit"][0]
    same = all(resumed[name] == whole[name] for name in ("documents", "tokens", "steps", "first_step", "report"))
    rows.append({"side": "sumkit, stopped half way and resumed", "same_result": same, **resumed})
    if not same:
        sys.exit("the resumed preparation is not the uninterrupted one; no result written")
    peak = rows[0]["peak_tree_bytes"]
    within = f"{'within' if peak < ALLOWED_PEAK else 'over'} the {ALLOWED_PEAK / 1e9:.1f} GB allowed"
    rates = [row["documents_per_second"] for row in rows[:2]]
    path = write_result(
        "data_preparation",
        f"python -m benchmarks.data_preparation --data xsum --documents {options.documents}",
        rows,
        headline("documents per second", *rates, "datasets.map"),
        packages=("tokenizers", "transformers", "numpy"),
        notes=[
            f"{options.documents} generated articles of {words:.0f} words in the mean; sumkit's peak resident memory "
            f"{peak / 1e9:.2f} GB, {within}",
            f"the peer's environment: {peer_versions(python, ['datasets', 'transformers'])}",
        ],
        directory=options.out,
    )
    print(path)


if __name__ == "__main__":
    main()
