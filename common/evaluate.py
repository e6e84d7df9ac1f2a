"""From a trained run and documents to a verdict: summaries, scores with intervals, baselines beside them.

Every system is scored on the same documents by the same scorer; failed or empty generations count as zero and are
shown. Knows nothing of training.
"""

from __future__ import annotations

import csv
import io
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from common.data.prompts import BUILT_IN, PromptFormat
from common.engine import Engine, GenerationSpec
from common.errors import DataError
from common.files import sha256_text, write_json, write_text
from common.measures import describe_summaries
from common.metrics.baselines import extractive_oracle, lead, random_sentence
from common.metrics.bootstrap import bootstrap_intervals, paired_difference
from common.metrics.rouge import MEASURES, rouge_scores
from common.progress import Progress, note
from common.types import Example, Prediction

MultiReference = Literal["best", "mean"]
SYSTEM_NAMES = {
    "tuned": "tuned",
    "base": "untuned",
    "lead1": "Lead-1",
    "lead3": "Lead-3",
    "random": "random",
    "oracle": "oracle",
}
FormatFor = Callable[[str], PromptFormat]


@dataclass(frozen=True)
class SystemScores:
    """One system's summaries of the evaluated documents with per-example scores in percent, shape (examples,).

    `reference` says which of an example's references was scored (the first where the mean was taken).
    """

    name: str
    predictions: list[Prediction]
    scores: dict[str, np.ndarray]
    reference: np.ndarray
    seconds: float = 0.0


@dataclass(frozen=True)
class Evaluation:
    """Every system on the same examples. `facts` goes into results.json as it is."""

    examples: Sequence[Example]
    systems: dict[str, SystemScores]
    multi_reference: MultiReference
    tokenizer: str
    facts: dict[str, Any] = field(default_factory=dict)


def generate_predictions(
    engine: Engine, form: PromptFormat, examples: Sequence[Example], spec: GenerationSpec, label: str
) -> list[Prediction]:
    """Summaries under the ids of their documents, in input order; a failed one has stop reason `error`."""
    prompts = [
        prompt.tokens for prompt in form.prompts([example.document for example in examples], spec.max_new_tokens)
    ]
    with Progress(len(prompts), label) as progress:
        generations = engine.generate(prompts, spec, lambda index, generation: progress.advance())
    return [
        Prediction(
            id=example.id,
            document_sha256=sha256_text(example.document),
            text=form.tokenizer.decode(generation.tokens),
            stop_reason=generation.stop_reason,
            tokens=len(generation.tokens),
        )
        for example, generation in zip(examples, generations, strict=True)
    ]


def score_predictions(
    name: str,
    predictions: list[Prediction],
    examples: Sequence[Example],
    multi_reference: MultiReference = "best",
) -> tuple[SystemScores, str]:
    """Score predictions against their examples' references, and name the tokenizer that was used.

    Raises DataError when a prediction does not belong to the example at its place (by id and document hash).
    """
    for prediction, example in zip(predictions, examples, strict=True):
        if prediction.id != example.id or prediction.document_sha256 != sha256_text(example.document):
            raise DataError(
                f"prediction {prediction.id!r} does not belong to document {example.id!r}: generate the summaries "
                "again from the data that is scored"
            )
    rouge = rouge_scores(
        [prediction.text for prediction in predictions],
        [example.all_references for example in examples],
        multi_reference=multi_reference,
    )
    return SystemScores(name, predictions, rouge.fmeasure, rouge.reference.clip(0)), rouge.tokenizer


def baseline_predictions(examples: Sequence[Example]) -> dict[str, list[Prediction]]:
    """Lead-1, Lead-3, a random sentence, and the extractive oracle (the upper bound for copying sentences)."""
    documents = [example.document for example in examples]
    texts = {
        "lead1": lead(documents, 1),
        "lead3": lead(documents, 3),
        "random": random_sentence(documents),
        "oracle": extractive_oracle(documents, [example.all_references for example in examples]),
    }
    return {
        name: [
            Prediction(example.id, sha256_text(example.document), text, "eos")
            for example, text in zip(examples, summaries, strict=True)
        ]
        for name, summaries in texts.items()
    }


def evaluate_systems(
    engine: Engine,
    form: PromptFormat,
    examples: Sequence[Example],
    spec: GenerationSpec,
    multi_reference: MultiReference = "best",
    with_tuned: bool = True,
    base_form: PromptFormat | None = None,
) -> Evaluation:
    """Tuned model, untuned model (under `base_form`, None leaves it out) and baselines on the same examples."""
    if not examples:
        raise DataError("there is no example to evaluate; check --data, --split and --limit")
    systems: dict[str, SystemScores] = {}
    tokenizer = ""

    def add(name: str, predictions: list[Prediction]) -> None:
        nonlocal tokenizer
        systems[name], tokenizer = score_predictions(name, predictions, examples, multi_reference)

    if with_tuned:
        began = time.monotonic()
        add("tuned", generate_predictions(engine, form, examples, spec, "summaries (tuned)"))
        systems["tuned"] = replace(systems["tuned"], seconds=time.monotonic() - began)
    if base_form is not None:
        engine.enable_adapter(False)
        began = time.monotonic()
        try:
            add("base", generate_predictions(engine, base_form, examples, spec, "summaries (untuned)"))
        finally:
            engine.enable_adapter(True)
        systems["base"] = replace(systems["base"], seconds=time.monotonic() - began)
    for name, predictions in baseline_predictions(examples).items():
        add(name, predictions)
    return Evaluation(examples, systems, multi_reference, tokenizer)


def best_base_template(
    engine: Engine, format_for: FormatFor, examples: Sequence[Example], spec: GenerationSpec
) -> tuple[str, dict[str, float]]:
    """The built-in template under which the untuned model scores the highest ROUGE-1 on `examples`, and all scores.

    Templates that the model cannot use (chat without a chat template) are left out.
    """
    scores: dict[str, float] = {}
    engine.enable_adapter(False)
    try:
        for name in BUILT_IN:
            form = _usable(format_for, name)
            if form is None:
                continue
            predictions = generate_predictions(engine, form, examples, spec, f"zero-shot template {name}")
            system, _ = score_predictions(name, predictions, examples)
            scores[name] = float(system.scores["rouge1"].mean())
    finally:
        engine.enable_adapter(True)
    best = max(scores, key=lambda name: scores[name])
    listed = ", ".join(f"{name} {value:.1f}" for name, value in sorted(scores.items(), key=lambda item: -item[1]))
    note(f"untuned model by template, ROUGE-1 on {len(examples)} documents: {listed}")
    return best, scores


def _usable(format_for: FormatFor, name: str) -> PromptFormat | None:
    from common.errors import ModelError

    try:
        return format_for(name)
    except ModelError:
        return None


def results_of(evaluation: Evaluation) -> dict[str, Any]:
    """The contract's results: means with 95 % intervals, paired differences, stop reasons, counts and timings."""
    systems = evaluation.systems
    results: dict[str, Any] = {
        **evaluation.facts,
        "examples": len(evaluation.examples),
        "multi_reference": evaluation.multi_reference,
        "rouge_tokenizer": evaluation.tokenizer,
        "systems": {name: _system_results(system, evaluation.examples) for name, system in systems.items()},
        "differences": {},
        "stop_reasons": {},
        "seconds": {name: round(system.seconds, 2) for name, system in systems.items() if system.seconds},
    }
    reference = "tuned" if "tuned" in systems else "base"
    for other in systems:
        if other != reference and reference in systems:
            results["differences"][f"{reference}-{other}"] = {
                measure: paired_difference(systems[reference].scores[measure], systems[other].scores[measure]).as_dict()
                for measure in MEASURES
            }
    for name in ("tuned", "base"):
        if name in systems:
            counted = Counter(prediction.stop_reason for prediction in systems[name].predictions)
            results["stop_reasons"][name] = {reason: counted.get(reason, 0) for reason in ("eos", "length", "error")}
    return results


def _system_results(system: SystemScores, examples: Sequence[Example]) -> dict[str, Any]:
    intervals = bootstrap_intervals({measure: system.scores[measure] for measure in MEASURES})
    scores: dict[str, Any] = {measure: asdict(interval) for measure, interval in intervals.items()}
    return {**scores, **describe_summaries([prediction.text for prediction in system.predictions], examples)}


def write_evaluation(directory: Path, evaluation: Evaluation, results: dict[str, Any]) -> None:
    """Write results.json, predictions.csv (tuned, or untuned alone) and predictions-<system>.csv for the others."""
    write_json(directory / "results.json", results)
    main = "tuned" if "tuned" in evaluation.systems else "base"
    for name, system in evaluation.systems.items():
        file = "predictions.csv" if name == main else f"predictions-{name}.csv"
        write_text(directory / file, predictions_csv(evaluation.examples, system))


def predictions_csv(examples: Sequence[Example], system: SystemScores) -> str:
    """One row an example in the contract's columns, then `references`: all of them as a JSON list.

    `reference` is the one that was scored.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    measures = ("rouge1", "rouge2", "rougeL")
    texts = ("id", "document", "document_sha256", "reference", "prediction", "stop_reason")
    writer.writerow([*texts, *measures, "references"])
    for index, (example, prediction) in enumerate(zip(examples, system.predictions, strict=True)):
        references = example.all_references
        row = [
            example.id,
            example.document,
            prediction.document_sha256,
            references[system.reference[index]],
            prediction.text,
            prediction.stop_reason,
            *(f"{system.scores[measure][index]:.4f}" for measure in measures),
            json.dumps(references, ensure_ascii=False),
        ]
        writer.writerow([_storable(cell) for cell in row])
    return out.getvalue()


def _storable(cell: str) -> str:
    """Without NUL and lone surrogates, which no CSV reader takes."""
    return cell.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def score_table(results: dict[str, Any]) -> str:
    """The scores as an aligned table with 95 % intervals, and one line for each difference."""
    names = SYSTEM_NAMES
    lines = [f"{'system':<10}" + "".join(f"{label:>24}" for label in ("ROUGE-1", "ROUGE-2", "ROUGE-L"))]
    for name, scores in results["systems"].items():
        cells = [_interval(scores[measure]) for measure in ("rouge1", "rouge2", "rougeL")]
        lines.append(f"{names.get(name, name):<10}" + "".join(f"{cell:>24}" for cell in cells))
    for name, values in results["differences"].items():
        first, second = name.split("-", 1)
        lines.append(
            f"{names.get(first, first)} minus {names.get(second, second)}: ROUGE-1 {_interval(values['rouge1'], '+')}"
        )
    for name, reasons in results["stop_reasons"].items():
        share = 100 * reasons["eos"] / max(1, sum(reasons.values()))
        lines.append(
            f"{names[name]}: {share:.0f} % ended by themselves, {reasons['length']} cut at the length limit, "
            f"{reasons['error']} failed, {results['systems'][name]['empty']} empty"
        )
    return "\n".join(lines)


def _interval(score: dict[str, float], sign: str = "") -> str:
    return f"{score['mean']:{sign}.2f} [{score['low']:{sign}.2f}, {score['high']:{sign}.2f}]"
