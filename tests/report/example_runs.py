"""Run directories as training and evaluation leave them, made on the spot from the embedded corpus.

Summaries are the references with words changed by a fixed seed; every score in the files is computed from them with
the project's own metrics, so that a report over them has to add up.
"""

from __future__ import annotations

import csv
import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from common.files import sha256_text
from common.metrics.bootstrap import bootstrap_interval, paired_difference
from common.metrics.rouge import rouge_scores
from common.metrics.sentences import split_sentences
from common.types import Example

MEASURES = ("rouge1", "rouge2", "rougeL", "rougeLsum")
COLUMNS = ("id", "document", "document_sha256", "reference", "prediction", "stop_reason", "rouge1", "rouge2", "rougeL")


def corpus(count: int = 40) -> list[Example]:
    """The first `count` examples of the embedded test and train split."""
    folder = Path(__file__).parents[2] / "common" / "corpus"
    rows = [
        json.loads(line)
        for name in ("test", "train")
        for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    return [Example(row["id"], row["document"], row["summary"]) for row in rows[:count]]


def changed(example: Example, share: float, generator: random.Random) -> str:
    """The reference with a share of its words replaced by words of the document or by a made-up number."""
    pool = example.document.split() or ["nothing"]
    words = [
        word if generator.random() > share else generator.choice([generator.choice(pool), "1987"])
        for word in example.summary.split()
    ]
    return " ".join(words)


def lead(example: Example, sentences: int) -> str:
    """The first sentences of the document."""
    return " ".join(split_sentences(example.document)[:sentences])


def write_training(path: Path, steps: int = 90, planned: int = 90, dev: bool = True) -> None:
    """config.yaml, environment.json, metrics.jsonl, and finished.json when all planned steps were made."""
    path.mkdir(parents=True, exist_ok=True)
    config = {
        "data": {"data": "demo", "limit_train": 0},
        "model": {"model": "smollm2-135m", "quantize": "none"},
        "lora": {"rank": 16, "alpha": 32.0},
        "training": {"steps": planned, "learning_rate": 0.0005, "max_grad_norm": 1.0, "seed": 0},
    }
    (path / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    environment = {
        "versions": {"sumkit": "0.1.0", "python": "3.11.9", "torch": "2.13.0"},
        "platform": "Linux-6.1-x86_64",
        "cpu_count": 2,
        "engine": "cuda",
        "device": {"kind": "cpu", "name": "CPU, 2 threads", "memory_bytes": 0, "compute_dtype": "float32"},
        "parameters": 134_515_008,
        "trainable_parameters": 4_884_480,
        "training_data": {
            "examples": 180,
            "tokens": 41234,
            "target_tokens": 4630,
            "cut_examples": 2,
            "long_summaries": [],
        },
    }
    (path / "environment.json").write_text(json.dumps(environment), encoding="utf-8")
    noise = random.Random(1)
    lines = []
    for step in range(1, steps + 1):
        row: dict[str, Any] = {
            "step": step,
            "epoch": round(step / 30, 4),
            "loss": 1.9 + 1.6 * math.exp(-step / 25) + noise.gauss(0, 0.12),
            "learning_rate": 5e-4 * min(1.0, step / 5) * 0.5 * (1 + math.cos(math.pi * step / planned)),
            "grad_norm": 0.8 + 2.5 * math.exp(-step / 10) + abs(noise.gauss(0, 0.2)),
            "target_tokens": 150,
            "tokens": 1370,
            "tokens_per_second": 410 + noise.gauss(0, 25),
            "peak_memory_bytes": 1_610_612_736,
            "skipped_steps": 0,
        }
        if dev and (step % 23 == 0 or step == planned):
            row["dev_loss"] = 2.05 + 1.2 * math.exp(-step / 25) + (0.004 * max(0, step - 60))
        lines.append(json.dumps(row) + "\n")
    (path / "metrics.jsonl").write_text("".join(lines), encoding="utf-8")
    if steps == planned:
        state = {"step": steps, "best_step": 69, "best_value": 2.16, "seconds": 301.5}
        (path / "finished.json").write_text(json.dumps({"state": state}), encoding="utf-8")


def write_predictions(path: Path, examples: list[Example], texts: list[str], stops: list[str]) -> dict[str, np.ndarray]:
    """One predictions file; returns the per-example scores."""
    scores = rouge_scores(texts, [example.summary for example in examples]).fmeasure
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for index, (example, text, stop) in enumerate(zip(examples, texts, stops, strict=True)):
            values = [f"{scores[measure][index]:.4f}" for measure in MEASURES[:3]]
            writer.writerow(
                [example.id, example.document, sha256_text(example.document), example.summary, text, stop, *values]
            )
    return scores


def write_evaluation(
    path: Path, examples: list[Example] | None = None, tuned: list[str] | None = None
) -> dict[str, Any]:
    """predictions*.csv and results.json of tuned, untuned, Lead-1 and Lead-3; returns the results."""
    path.mkdir(parents=True, exist_ok=True)
    examples = examples or corpus()
    generator = random.Random(0)
    texts = {
        "tuned": tuned or [changed(example, 0.45, generator) for example in examples],
        "base": [lead(e, 2) + " " + " ".join(e.document.split()[:20]) for e in examples],
        "lead1": [lead(e, 1) for e in examples],
        "lead3": [lead(e, 3) for e in examples],
    }
    if tuned is None and len(examples) > 5:
        texts["tuned"][3] = ""
    stops = {name: ["eos"] * len(examples) for name in texts}
    stops["base"] = ["length" if i % 4 else "eos" for i in range(len(examples))]
    stops["tuned"][0] = "length"
    scores = {}
    for name, some in texts.items():
        file = "predictions.csv" if name == "tuned" else f"predictions-{name}.csv"
        scores[name] = write_predictions(path / file, examples, some, stops[name])
    results: dict[str, Any] = {
        "run": str(path),
        "engine": "cuda",
        "device": "CPU, 2 threads",
        "model": "smollm2-135m",
        "data": "demo",
        "split": "test",
        "examples": len(examples),
        "rouge_tokenizer": "rouge-score (Porter stemmer)",
        "systems": {n: {m: vars(bootstrap_interval(scores[n][m])) for m in MEASURES} for n in texts},
        "differences": {
            f"tuned-{other}": {m: vars(paired_difference(scores["tuned"][m], scores[other][m])) for m in MEASURES}
            for other in texts
            if other != "tuned"
        },
        "stop_reasons": {n: {r: stops[n].count(r) for r in ("eos", "length", "error")} for n in ("tuned", "base")},
        "seconds": {"tuned": 61.2, "base": 93.4},
    }
    for name, some in texts.items():
        results["systems"][name]["words"] = float(np.mean([len(text.split()) for text in some]))
    (path / "results.json").write_text(json.dumps(results), encoding="utf-8")
    return results
