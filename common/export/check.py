"""The check every export passes before it is called done: run it, run the run, and compare both on real documents."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import DataError
from common.evaluation.run_evaluation import EvalOptions, evaluation_examples
from common.export.answers import Sample, make_sample
from common.export.comparison import (
    TOLERANCE,
    LogitComparison,
    SummaryComparison,
    compare_logits,
    compare_summaries,
    find_problems,
)
from common.export.formats import ExportFormat
from common.export.run_with_engine import run_answers
from common.export.source import ExportOptions, ExportSource
from common.run.contents import read_run
from common.types import Example


@dataclass(frozen=True)
class Verification:
    """What the check found.

    run, export  how each side was run, in words
    tolerance    largest error of logits that was allowed; None where quantization is measured instead
    problems     why the export must not be used; empty when it passed
    remarks      what else a user should know
    """

    run: str
    export: str
    logits: LogitComparison
    summaries: SummaryComparison
    tolerance: float | None
    problems: tuple[str, ...]
    remarks: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.problems

    def lines(self) -> list[str]:
        """Plain sentences for a person."""
        logits, summaries = self.logits, self.summaries
        allowed = f", at most {self.tolerance:.1%} allowed" if self.tolerance is not None else ""
        said = [
            f"{self.export}, against the run itself ({self.run})",
            f"logits over {logits.rows} summary tokens: {logits.error:.2%} off{allowed}; the adapter changes "
            f"{logits.effect:.1%}, {logits.kept:.1%} of that is there; same next token in {logits.same_choice:.1%}",
            f"greedy summaries of {summaries.documents} documents: {summaries.identical} identical, ROUGE-L with the "
            f"run's {summaries.agreement:.1f}",
        ]
        if summaries.run:
            said.append(
                "ROUGE-1/2/L against the references: "
                + " / ".join(f"{value:.1f}" for value in summaries.export.values())
                + ", the run's "
                + " / ".join(f"{value:.1f}" for value in summaries.run.values())
            )
        return [*said, *self.remarks]

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {**dataclasses.asdict(self), "passed": self.passed}


def choose_sample(source: ExportSource, count: int, documents: str = "") -> Sample:
    """Up to `count` documents: from `documents` (a file) where given, else those the run was evaluated on, else its
    data's test or dev set. Raises DataError when there are none.
    """
    examples: list[Example] = []
    if not documents and source.run.predictions.is_file():
        rows = [row for row in read_run(source.run.path).predictions if row.document.strip()]
        examples = [Example(row.id, row.document, row.reference) for row in rows[:count]]
    if not examples:
        try:
            examples, _, _ = evaluation_examples(source.config, EvalOptions(data=documents, limit=count))
        except DataError as error:
            if documents:
                raise
            raise DataError(f"{error}\nthe export is checked on documents: give some with --documents FILE") from None
    return make_sample(examples, source.form, source.config.generation.max_new_tokens)


def verify(
    source: ExportSource, options: ExportOptions, chosen: ExportFormat, directory: Path, sample: Sample
) -> Verification:
    """Compare an export with its run. Raises EngineError when a program needed for that is not installed."""
    exact = _is_exact(source, options, chosen)
    quantized = not chosen.adapter and source.own_engine
    reference = run_answers(source, sample, source.config.model.quantize if quantized else "none")
    export = chosen.answers(source, options, directory, sample, reference)
    types = list(TOLERANCE)
    coarsest = max(reference.compute_dtype, export.dtype, key=types.index)
    logits = compare_logits(reference.answers.logits, reference.untuned, export.logits)
    summaries = compare_summaries(reference.answers, export, sample)
    tolerance = TOLERANCE[coarsest] if exact else None
    return Verification(
        run=reference.answers.method,
        export=export.method,
        logits=logits,
        summaries=summaries,
        tolerance=tolerance,
        problems=(*export.problems, *find_problems(logits, summaries, tolerance)),
        remarks=export.remarks,
    )


def _is_exact(source: ExportSource, options: ExportOptions, chosen: ExportFormat) -> bool:
    """Whether both sides hold the same values, so that only rounding may tell them apart."""
    if chosen.quantizes(options):
        return False
    same_base = source.quantization.kind == "none" or (source.own_engine and options.base_values == "trained")
    return chosen.adapter or same_base
