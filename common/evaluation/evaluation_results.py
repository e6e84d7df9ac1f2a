"""What an evaluation leaves behind: results.json, the predictions of every system, and a table for the terminal.

Every score has a 95 % interval and every difference is paired. Knows nothing of models and generation.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from common.check.results import SupportCheck
from common.evaluation.evaluate import Evaluation, SystemScores
from common.evaluation.measures import example_measures, external_scores, mean_measures
from common.evaluation.support import support_columns, support_difference, support_results
from common.files import write_json, write_text
from common.metrics.bootstrap import bootstrap_intervals, paired_difference
from common.metrics.external import ExternalScore, external_difference
from common.metrics.faithfulness import unsupported_claims
from common.report.support import read_support
from common.report.verdict import read_comparisons
from common.run.directory import RunDirectory
from common.safe_text import one_line, visible
from common.text.amounts import decimal, read_interval
from common.text.names import ROUGE_METRICS, metric_label, system_label
from common.text.table import text_table
from common.types import Example

BASELINES = ("lead1", "lead3", "random", "oracle")


def with_measures(evaluation: Evaluation) -> Evaluation:
    """The evaluation with every measure beside ROUGE that needs no model."""
    systems = {}
    for name, system in evaluation.systems.items():
        texts = [prediction.text for prediction in system.predictions]
        systems[name] = replace(
            system,
            external=external_scores(texts, evaluation.examples),
            measures=example_measures(texts, evaluation.examples),
        )
    return replace(evaluation, systems=systems)


def results_of(evaluation: Evaluation) -> dict[str, Any]:
    """The contract's results: means with 95 % intervals, paired differences, stop reasons, counts and timings.

    `evaluation` has its measures (`with_measures`).
    """
    systems = evaluation.systems
    external = {name: system.external for name, system in systems.items()}
    main = main_system(systems)
    stops = {
        name: Counter(prediction.stop_reason for prediction in system.predictions)
        for name, system in systems.items()
        if name not in BASELINES
    }
    known = next(iter(external.values()))
    return {
        **evaluation.facts,
        "examples": len(evaluation.examples),
        "multi_reference": evaluation.multi_reference,
        "rouge_tokenizer": evaluation.tokenizer,
        "signatures": {name: score.signature for name, score in known.items()},
        "notes": [score.note for score in known.values() if score.note],
        **(evaluation.support.as_facts() if evaluation.support else {}),
        "systems": {
            name: _system_results(system) | support_results(system, evaluation.support)
            for name, system in systems.items()
        },
        "differences": {
            f"{main}-{other}": _differences(systems[main], systems[other], external[main], external[other])
            | support_difference(systems[main], systems[other], evaluation.support)
            for other in systems
            if main in systems and other != main
        },
        "stop_reasons": {
            name: {reason: counted.get(reason, 0) for reason in ("eos", "length", "error")}
            for name, counted in stops.items()
        },
        "seconds": {name: round(system.seconds, 2) for name, system in systems.items() if system.seconds},
    }


def main_system(systems: Mapping[str, SystemScores]) -> str:
    """The system under test: the tuned model, or the untuned one where it is scored alone."""
    return "tuned" if "tuned" in systems else "base"


def _system_results(system: SystemScores) -> dict[str, Any]:
    scores: dict[str, Any] = {name: asdict(interval) for name, interval in bootstrap_intervals(system.scores).items()}
    scores |= {name: asdict(score.interval) for name, score in system.external.items()}
    if system.perplexity is not None:
        scores["perplexity"] = system.perplexity.as_dict()
    return {**scores, **mean_measures(system.measures)}


def _differences(
    ours: SystemScores,
    theirs: SystemScores,
    our_external: Mapping[str, ExternalScore],
    their_external: Mapping[str, ExternalScore],
) -> dict[str, Any]:
    rouge = {name: paired_difference(values, theirs.scores[name]).as_dict() for name, values in ours.scores.items()}
    return rouge | {name: external_difference(score, their_external[name]) for name, score in our_external.items()}


def overlap_facts(overlap: list[int] | None, evaluation: Evaluation) -> dict[str, Any]:
    """How many scored documents were trained on, and every score and paired difference without them.

    `overlap` holds their positions; None where the training data is not known.
    """
    if overlap is None:
        return {"trained_on": None}
    facts: dict[str, Any] = {
        "trained_on": len(overlap),
        "trained_on_ids": [evaluation.examples[index].id for index in overlap[:20]],
    }
    rest = np.setdiff1d(np.arange(len(evaluation.examples)), overlap)
    if overlap and len(rest):
        facts["without_them"] = {
            name: {
                measure: asdict(interval)
                for measure, interval in bootstrap_intervals(
                    {measure: values[rest] for measure, values in system.scores.items()}
                ).items()
            }
            for name, system in evaluation.systems.items()
        }
        main = main_system(evaluation.systems)
        ours = evaluation.systems.get(main)
        facts["differences_without_them"] = {
            f"{main}-{name}": {
                measure: paired_difference(ours.scores[measure][rest], values[rest]).as_dict()
                for measure, values in system.scores.items()
                if measure in ours.scores
            }
            for name, system in evaluation.systems.items()
            if ours is not None and name != main
        }
    return facts


def write_evaluation(directory: Path, evaluation: Evaluation, results: dict[str, Any]) -> None:
    """Write predictions.csv (tuned, or untuned alone), predictions-<system>.csv for the others, and results.json.

    Predictions of systems that an earlier evaluation had and this one has not are removed. results.json comes last:
    where it is, an evaluation is whole.
    """
    main = main_system(evaluation.systems)
    run = RunDirectory(directory)
    for name, system in evaluation.systems.items():
        file = run.predictions if name == main else run.predictions_of(name)
        write_text(file, predictions_csv(evaluation.examples, system, evaluation.support))
    for name, stale in run.other_predictions().items():
        if name == main or name not in evaluation.systems:
            stale.unlink()
    write_json(run.results, results)


def predictions_csv(examples: Sequence[Example], system: SystemScores, check: SupportCheck | None = None) -> str:
    """One row an example in the contract's columns, then `references` and `unsupported` as JSON lists, then all else
    that was measured of it, empty where there is nothing to measure; of a checked system also its support.

    `reference` is the one that was scored; `unsupported` lists each number, date, name and quotation of the
    prediction that the document does not hold. BLEU and chrF are those of the sentence alone.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    measures = ("rouge1", "rouge2", "rougeL")
    texts = ("id", "document", "document_sha256", "reference", "prediction", "stop_reason")
    more = {name: values for name, values in system.scores.items() if name not in measures}
    more |= {name: score.per_example for name, score in system.external.items()}
    if system.perplexity is not None:
        known = system.perplexity.by_id
        more["perplexity"] = np.array([known.get(example.id, np.nan) for example in examples])
    more |= {name: values for name, values in system.measures.items() if name != "unsupported_claims"}
    support = support_columns(system, check)
    writer.writerow([*texts, *measures, "references", "unsupported", *more, *support])
    for index, (example, prediction) in enumerate(zip(examples, system.predictions, strict=True)):
        references = example.all_references
        claims = unsupported_claims(example.document, prediction.text)
        row = [
            example.id,
            example.document,
            prediction.document_sha256,
            references[system.reference[index]],
            prediction.text,
            prediction.stop_reason,
            *(f"{system.scores[measure][index]:.4f}" for measure in measures),
            json.dumps(references, ensure_ascii=False),
            json.dumps([{"kind": claim.kind, "text": claim.text} for claim in claims], ensure_ascii=False),
            *(f"{values[index]:.4f}" if np.isfinite(values[index]) else "" for values in more.values()),
            *(cells[index] for cells in support.values()),
        ]
        writer.writerow([_storable(cell) for cell in row])
    return out.getvalue()


def _storable(cell: str) -> str:
    """Without NUL and lone surrogates, which no CSV reader takes."""
    return cell.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def score_table(results: dict[str, Any]) -> str:
    """The scores as a table with 95 % intervals, one sentence for each difference, and how texts ended."""
    systems = results["systems"]
    rows = [[_called(name), *(_score(scores, m) for m in ROUGE_METRICS)] for name, scores in systems.items()]
    lines = [text_table(["system", *map(metric_label, ROUGE_METRICS)], rows)]
    main = main_system(systems)
    for item in read_comparisons(results, main):
        shows = "" if item.detectable is None or item.untested else f" (detectable: {decimal(item.detectable)})"
        lines.append(visible(f"{_called(main)} is {item.sentence}{shows}"))
    for measure in ("bertscore", "perplexity"):
        named = [name for name in systems if measure in systems[name]]
        lines += [f"{_called(name)}: {metric_label(measure)} {_score(systems[name], measure)}" for name in named]
    for name, reasons in results["stop_reasons"].items():
        total = sum(reasons.values())
        lines.append(
            f"{_called(name)}: {reasons['eos']} of {total} summaries finished, {reasons['length']} cut at the length "
            f"limit, {reasons['error']} failed, {systems[name]['empty']} empty"
        )
    support = read_support(results, main).sentence
    return "\n".join([*lines, visible(support)] if support else lines)


def _called(name: str) -> str:
    return one_line(system_label(name), 40)


def _score(scores: Mapping[str, Any], measure: str) -> str:
    return str(read_interval(scores.get(measure)) or "–")
