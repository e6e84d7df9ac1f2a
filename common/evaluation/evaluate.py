"""From a trained run and documents to a verdict: summaries, scores with intervals, baselines beside them.

Every system is scored on the same documents by the same scorer; failed or empty generations count as zero and are
shown. Knows nothing of training.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from common.check.results import SupportCheck
from common.check.support import Checked
from common.data.prompts import BUILT_IN, PromptFormat
from common.engine import Engine, GenerationSpec
from common.errors import DataError
from common.evaluation.reference_perplexity import ReferencePerplexity, reference_perplexity
from common.files import sha256_text
from common.metrics.baselines import extractive_oracle, lead, random_sentence
from common.metrics.external import ExternalScore
from common.metrics.rouge import rouge_scores
from common.progress import Progress, note
from common.text.names import system_label
from common.types import Example, Prediction

MultiReference = Literal["best", "mean"]
FormatFor = Callable[[str], PromptFormat]


@dataclass(frozen=True)
class SystemScores:
    """One system's summaries of the evaluated documents with per-example scores in percent, shape (examples,).

    `reference` says which of an example's references was scored (the first where the mean was taken); `perplexity` is
    that of the references, where the system is a model at hand. `external` (BLEU, chrF, METEOR) and `measures` (form,
    copying, claims; shape (examples,)) are filled by `evaluation_results.with_measures`, `checked` by `check_support`.
    """

    name: str
    predictions: list[Prediction]
    scores: dict[str, np.ndarray]
    reference: np.ndarray
    seconds: float = 0.0
    perplexity: ReferencePerplexity | None = None
    external: Mapping[str, ExternalScore] = field(default_factory=dict)
    measures: Mapping[str, np.ndarray] = field(default_factory=dict)
    checked: Sequence[Checked] = ()


@dataclass(frozen=True)
class Evaluation:
    """Every system on the same examples. `facts` goes into results.json as it is."""

    examples: Sequence[Example]
    systems: dict[str, SystemScores]
    multi_reference: MultiReference
    tokenizer: str
    facts: dict[str, Any] = field(default_factory=dict)
    support: SupportCheck | None = None


def generate_predictions(
    engine: Engine, form: PromptFormat, examples: Sequence[Example], spec: GenerationSpec, label: str
) -> list[Prediction]:
    """Summaries under the ids of their documents, in input order; a failed one has stop reason `error`."""
    prompts = [prompt.tokens for prompt in form.example_prompts(examples, spec.max_new_tokens)]
    with Progress(len(prompts), label, at_once=spec.max_batch_rows) as progress:
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

    def add_model(name: str, called: str, prompts: PromptFormat) -> None:
        began = time.monotonic()
        add(name, generate_predictions(engine, prompts, examples, spec, f"summaries ({called})"))
        seconds = time.monotonic() - began
        perplexity = reference_perplexity(engine, prompts, examples, f"references ({called})")
        systems[name] = replace(systems[name], seconds=seconds, perplexity=perplexity)

    if with_tuned:
        add_model("tuned", system_label("tuned"), form)
    if base_form is not None:
        engine.enable_adapter(False)
        try:
            add_model("base", system_label("base"), base_form)
        finally:
            engine.enable_adapter(True)
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
