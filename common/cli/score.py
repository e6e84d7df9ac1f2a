"""`sumkit score`: any system's summaries against references, with intervals, and against simple baselines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

if TYPE_CHECKING:
    from collections.abc import Mapping

    from common.evaluation.paired_files import Pairs
    from common.metrics.rouge import RougeScores


@click.command("score")
@click.option("--predictions", "-p", required=True, type=click.Path(path_type=Path), metavar="FILE",
              help="Rows with id and prediction (JSONL or CSV).")  # fmt: skip
@click.option("--references", "-r", required=True, type=click.Path(path_type=Path), metavar="FILE",
              help="Rows with id and summary, or references (a list); document too for baselines.")  # fmt: skip
@click.option("--multi-reference", type=click.Choice(["best", "mean"]), default="best", show_default=True,
              help="With several references: the one with the best ROUGE-1, or the mean over them.")  # fmt: skip
@click.option("--tokenizer", type=click.Choice(["auto", "rouge-score", "unicode"]), default="auto", show_default=True,
              help="Words of ROUGE: rouge-score's (English), or Unicode words (any script).")  # fmt: skip
@click.option("--also", multiple=True, type=click.Choice(["bleu", "chrf", "meteor"]),
              help="A further score; may be given several times.")  # fmt: skip
@click.option("--bertscore", default="", metavar="MODEL",
              help="Also BERTScore with this encoder (a folder or Hub id, e.g. roberta-large).")  # fmt: skip
@click.option("--prediction-column", default="prediction", show_default=True, metavar="NAME",
              help="Column of the predictions file that holds them.")  # fmt: skip
@click.option("--reference-column", default="", metavar="NAME", help="Instead of references or summary.")
@click.option("--per-example", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.jsonl",
              help="Also write the scores of each id there.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True,
              help="Of the bootstrap behind the intervals.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the scores as one JSON document.")
def command(
    predictions: Path,
    references: Path,
    multi_reference: Literal["best", "mean"],
    tokenizer: Literal["auto", "rouge-score", "unicode"],
    also: tuple[str, ...],
    bertscore: str,
    prediction_column: str,
    reference_column: str,
    per_example: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    """Score any system's summaries: ROUGE F1 in percent with 95 % intervals.

    The files are joined on id; a missing, extra or repeated id is an error. Where the references file also holds
    each document, Lead-1, Lead-3, a random sentence and the extractive oracle are scored beside the system, and the
    smallest true difference that these examples would show in four cases of five is given as `detectable`.

    \b
    Examples:
      sumkit score --predictions out.jsonl --references test.jsonl
      sumkit score -p runs/demo/predictions.csv -r test.jsonl --also bleu --also chrf
      sumkit score -p out.csv -r test.csv --json --per-example scores.jsonl
      sumkit score -p out.jsonl -r test.jsonl --bertscore roberta-large
    """
    from common.evaluation.paired_files import read_pairs
    from common.metrics.rouge import rouge_scores

    pairs = read_pairs(predictions, references, prediction_column, reference_column)
    rouge = rouge_scores(pairs.predictions, pairs.references, multi_reference=multi_reference, tokenizer=tokenizer)
    results = _results(pairs, rouge, multi_reference, also, seed)
    examples = {name: results[name].pop("per_example") for name in also}
    if bertscore:
        results["bertscore"], examples["bertscore"] = _bertscore(pairs, bertscore, multi_reference, seed)
        also = (*also, "bertscore")
    if per_example:
        _write_per_example(per_example, pairs, rouge, examples)
    click.echo(json.dumps(results) if as_json else _text(results, also))


def _results(
    pairs: Pairs, rouge: RougeScores, multi_reference: Literal["best", "mean"], also: tuple[str, ...], seed: int
) -> dict[str, Any]:
    from dataclasses import asdict

    from common.metrics import external
    from common.metrics.bootstrap import bootstrap_intervals
    from common.text.names import metric_label

    results: dict[str, Any] = {"examples": len(pairs.ids)}
    for measure, interval in bootstrap_intervals(rouge.fmeasure, seed=seed).items():
        results[measure] = asdict(interval)
    for name in also:
        score = {"bleu": external.bleu, "chrf": external.chrf, "meteor": external.meteor}[name](
            pairs.predictions, pairs.references
        )
        results[name] = {**asdict(score.interval), "signature": score.signature, "per_example": score.per_example}
        if score.note:
            click.echo(f"{metric_label(name)}: {score.note}", err=True)
    results["tokenizer"] = rouge.tokenizer
    results["multi_reference"] = multi_reference
    results["empty_predictions"] = sum(not text.strip() for text in pairs.predictions)
    if pairs.documents is not None:
        results.update(_against_baselines(pairs, rouge, multi_reference, seed))
    return results


def _against_baselines(
    pairs: Pairs, rouge: RougeScores, multi_reference: Literal["best", "mean"], seed: int
) -> dict[str, Any]:
    """Leads, a random sentence and the oracle by the same scorer, and the system's paired difference to each."""
    from dataclasses import asdict

    from common.metrics.baselines import extractive_oracle, lead, random_sentence
    from common.metrics.bootstrap import bootstrap_intervals, paired_difference
    from common.metrics.rouge import rouge_scores

    found: dict[str, Any] = {"baselines": {}, "differences": {}}
    tokenizer: Literal["rouge-score", "unicode"] = "unicode" if rouge.tokenizer.startswith("unicode") else "rouge-score"
    documents = pairs.documents or []
    for name, texts in (
        ("lead1", lead(documents, 1)),
        ("lead3", lead(documents, 3)),
        ("random", random_sentence(documents)),
        ("oracle", extractive_oracle(documents, pairs.references)),
    ):
        scores = rouge_scores(texts, pairs.references, multi_reference=multi_reference, tokenizer=tokenizer).fmeasure
        intervals = bootstrap_intervals(scores, seed=seed)
        found["baselines"][name] = {measure: asdict(interval) for measure, interval in intervals.items()}
        found["differences"][name] = {
            measure: paired_difference(rouge.fmeasure[measure], values, seed=seed).as_dict()
            for measure, values in scores.items()
        }
    return found


def _bertscore(
    pairs: Pairs, model: str, multi_reference: Literal["best", "mean"], seed: int
) -> tuple[dict[str, Any], Any]:
    """The mean with its interval and signature, and the score of each example."""
    from dataclasses import asdict

    from common.evaluation.measures import bertscore_values
    from common.metrics.bootstrap import bootstrap_interval

    values, signature = bertscore_values(pairs.predictions, pairs.references, model, multi_reference)
    return {**asdict(bootstrap_interval(values, seed=seed)), "signature": signature}, values


def _write_per_example(path: Path, pairs: Pairs, rouge: RougeScores, more: Mapping[str, Any]) -> None:
    from common.files import write_text

    lines = []
    for index, identifier in enumerate(pairs.ids):
        row: dict[str, Any] = {"id": identifier}
        row.update(
            {measure: round(float(values[index]), 6) for measure, values in (*rouge.fmeasure.items(), *more.items())}
        )
        if rouge.reference[index] >= 0:
            row["reference"] = int(rouge.reference[index])
        row["empty"] = not pairs.predictions[index].strip()
        lines.append(json.dumps(row) + "\n")
    write_text(path.resolve() if path.is_file() else path, "".join(lines))


def _text(results: dict[str, Any], also: tuple[str, ...]) -> str:
    from common.metrics.rouge import MEASURES
    from common.text.amounts import decimal, read_interval, signed
    from common.text.names import metric_label, system_label
    from common.text.table import text_table

    rows = [[metric_label(measure), str(read_interval(results[measure]))] for measure in (*MEASURES, *also)]
    lines = [f"{results['examples']} examples", text_table(["score", "mean and 95 % interval"], rows)]
    for name, scores in results.get("baselines", {}).items():
        rows = []
        for measure in MEASURES:
            found = results["differences"][name][measure]
            change = f"{signed(found['mean'])} [{signed(found['low'])}, {signed(found['high'])}]"
            shows = "–" if found["detectable"] is None else decimal(found["detectable"])
            rows.append(
                [metric_label(measure), str(read_interval(scores[measure])), change, f"{found['p_value']:.4f}", shows]
            )
        lines += ["", text_table([system_label(name), "its score", "difference to it", "p", "detectable"], rows)]
    lines += ["", f"words: {results['tokenizer']}", f"several references: {results['multi_reference']}"]
    if results["empty_predictions"]:
        lines.append(f"{results['empty_predictions']} predictions are empty and count as 0")
    return "\n".join(lines)
