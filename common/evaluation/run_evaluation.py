"""Evaluate a run directory: what `sumkit eval` and the end of `sumkit train` do.

Finds the documents and the untuned model's prompt; generating and scoring are in `common.evaluation.evaluate`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.check.open import open_checker
from common.data.report import DataReport
from common.data.sources import SPLITS, Split, large_training_file, load_examples, load_held_out, load_splits
from common.errors import DataError
from common.evaluation.earlier_runs import earlier_predictions, name_runs
from common.evaluation.evaluate import (
    Evaluation,
    MultiReference,
    SystemScores,
    best_base_template,
    evaluate_systems,
    score_predictions,
)
from common.evaluation.evaluation_results import BASELINES, overlap_facts, results_of, with_measures, write_evaluation
from common.evaluation.place import Asked, place_results, refuse_other_results
from common.evaluation.support import check_support
from common.files import disk_error
from common.progress import detail, note
from common.run.loaded_run import LoadedRun
from common.run.preparation import generation_spec, subset
from common.settings import RunConfig
from common.types import Example

TEMPLATE_SAMPLE = 20  # documents on which the untuned model's best template is chosen


@dataclass(frozen=True)
class EvalOptions:
    """What to evaluate on and against. `data` empty means the run's own; `limit` 0 means all.

    beside      earlier runs to score on the same documents
    bertscore   an encoder (folder or Hub id) to score BERTScore with; empty leaves that out
    checker     what checks the summaries against their documents (`common.check.open`)
    """

    data: str = ""
    split: str = ""
    limit: int = 0
    multi_reference: MultiReference = "best"
    base: bool = True
    base_template: str = "auto"
    beside: tuple[Path, ...] = ()
    bertscore: str = ""
    checker: str = "built-in"


class NothingHeldOutError(DataError):
    """A run's own data has no example that was not trained on."""


def evaluate_run(loaded: LoadedRun, options: EvalOptions, out: Path | None = None) -> tuple[dict[str, Any], Path]:
    """Score a run; returns the results and the directory that they and the predictions were written to.

    That is `out`, else the run or a folder below it (`common.evaluation.place`).
    """
    beside = name_runs(options.beside, loaded.run.path)
    _check_before(out, options.bertscore)
    checker = open_checker(options.checker)
    examples, split, sample = evaluation_examples(loaded.config, options)
    data = options.data or loaded.config.data.data
    if out:
        refuse_other_results(out, loaded.run, _asked(options, data, split, len(examples), beside))
    spec = generation_spec(loaded.config, loaded.prompt_format.eos_ids)
    base_form, base_name = None, None
    template_scores: dict[str, float] = {}
    if options.base:
        base_name = options.base_template
        if base_name == "auto" and any(example.messages for example in examples):
            base_name = "same"  # conversations have one form, the model's own chat template
        if base_name == "auto":
            base_name, template_scores = best_base_template(loaded.engine, loaded.format_for, sample, spec)
        if base_name == "same":
            base_name = loaded.template.name
        base_form = loaded.prompt_format if base_name == loaded.template.name else loaded.format_for(base_name)
    evaluation = evaluate_systems(
        loaded.engine, loaded.prompt_format, examples, spec, options.multi_reference, base_form=base_form
    )
    systems = {**evaluation.systems, **_score_earlier(beside, examples, options, loaded.engine.name)}
    signature = ""
    if options.bertscore:
        signature = _add_bertscore(systems, examples, options)
    evaluation = dataclasses.replace(evaluation, systems=systems)
    overlap = overlap_facts(training_overlap(loaded.config, examples), evaluation)
    _warn_of_overlap(overlap, evaluation)
    facts = {
        "run": str(loaded.run.path),
        "engine": loaded.engine.name,
        "device": loaded.engine.device.name,
        "model": loaded.config.model.model,
        "data": data,
        "split": split,
        "limit": options.limit,
        "template": loaded.template.name,
        "base_template": base_name,
        "base_template_scores": template_scores,
        "beside": {name: str(path) for name, path in beside.items()},
        "overlap": overlap,
        **({"bertscore_signature": signature, "bertscore_model": options.bertscore} if signature else {}),
    }
    evaluation = check_support(with_measures(dataclasses.replace(evaluation, facts=facts)), checker)
    results = results_of(evaluation)
    for remark in results["notes"]:
        detail(remark)  # they stay in results.json
    own = data == loaded.config.data.data and not options.split
    place = out or place_results(loaded.run, results, own)
    write_evaluation(place, evaluation, results)
    return results, place


def _asked(options: EvalOptions, data: str, split: str, examples: int, beside: Mapping[str, Path]) -> Asked:
    """What is asked for, before it is answered."""
    return Asked(
        data=data,
        split=split,
        examples=examples,
        multi_reference=options.multi_reference,
        base_template=None,
        bertscore=options.bertscore,
        systems=frozenset(("tuned", *BASELINES, *beside, *(("base",) if options.base else ()))),
    )


def _check_before(out: Path | None, bertscore: str) -> None:
    """Raise for what would only fail after all summaries are written."""
    if out is not None:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk_error(out, error) from None
    if bertscore:
        from common.metrics.bertscore import check_encoder

        check_encoder(bertscore)


def _score_earlier(
    runs: Mapping[str, Path], examples: Sequence[Example], options: EvalOptions, engine: str
) -> dict[str, SystemScores]:
    return {
        name: score_predictions(name, earlier_predictions(path, examples, engine), examples, options.multi_reference)[0]
        for name, path in runs.items()
    }


def _add_bertscore(systems: dict[str, SystemScores], examples: Sequence[Example], options: EvalOptions) -> str:
    """Give every system its BERTScores; returns their signature."""
    from common.evaluation.measures import bertscore_values

    texts = [prediction.text for system in systems.values() for prediction in system.predictions]
    references = [example.all_references for example in examples] * len(systems)
    note(f"BERTScore of {len(texts):,} summaries with {options.bertscore}")
    values, signature = bertscore_values(texts, references, options.bertscore, options.multi_reference)
    for place, (name, system) in enumerate(systems.items()):
        own = values[place * len(examples) : (place + 1) * len(examples)]
        systems[name] = dataclasses.replace(system, scores={**system.scores, "bertscore": own})
    return signature


def _warn_of_overlap(overlap: Mapping[str, Any], evaluation: Evaluation) -> None:
    if not overlap["trained_on"]:
        return
    total, without = len(evaluation.examples), overlap.get("without_them", {}).get("tuned")
    said = f"warning: {overlap['trained_on']} of {total} scored documents were trained on"
    if without:
        with_them = float(evaluation.systems["tuned"].scores["rouge1"].mean())
        said += f"; ROUGE-1 without them is {without['rouge1']['mean']:.2f}, with them {with_them:.2f}"
    note(said)


def training_overlap(config: RunConfig, examples: Sequence[Example]) -> list[int] | None:
    """Positions of examples whose document, exactly or nearly, was trained on; None where the training data is gone."""
    from common.data.duplicates import find_leaks, sketch

    if large_training_file(config.data):
        note("overlap with the training data was dropped when it was prepared; it is too large to look for it again")
        return None
    try:
        trained = load_splits(config.data, config.training.seed).train
    except DataError as error:
        note(f"overlap with the training data is not known: {str(error).splitlines()[0]}")
        return None
    trained = subset(trained, config.data.limit_train, config.training.seed)
    ours = sketch([example.document for example in examples])
    return sorted(match.index for match in find_leaks(ours, sketch([example.document for example in trained])))


def evaluation_examples(config: RunConfig, options: EvalOptions) -> tuple[list[Example], str, list[Example]]:
    """Examples to score, the name of their split, and a sample for choosing the untuned model's template.

    The sample comes from dev where the scored split is another one; else from the scored examples themselves,
    which can only favour the untuned model.
    """
    seed = config.training.seed
    settings = dataclasses.replace(config.data, data=options.data) if options.data else config.data
    if options.data and (options.split or Path(options.data).is_file()):
        split = split_name(options.split or "test")
        examples, report = load_examples(options.data, settings, split, seed)
        _tell(report)
        chosen = subset(examples, options.limit, seed)
        return chosen, split, chosen[:TEMPLATE_SAMPLE]
    large = large_training_file(settings) and options.split != "train"
    splits = load_held_out(settings) if large else load_splits(settings, seed, require_train=False)
    if options.data:
        _tell(splits.report)
    if not options.split and not splits.test and not splits.dev:
        raise NothingHeldOutError(
            f"{settings.data} has neither a test nor a dev set to score on; give `sumkit eval RUN --data` other "
            "documents with summaries, or train on more than two examples"
        )
    split = split_name(options.split) if options.split else ("test" if splits.test else "dev")
    if not splits.get(split):
        there = ", ".join(name for name in SPLITS if splits.get(name))
        raise DataError(f"split {split!r} is not in {settings.data}; there are {there}")
    chosen = subset(splits.get(split), options.limit, seed)
    sample = splits.dev if split == "test" and splits.dev else chosen
    note(f"evaluating on {len(chosen)} {split} documents")
    return chosen, split, list(sample[:TEMPLATE_SAMPLE])


def _tell(report: DataReport) -> None:
    """Say what was found in data that training has not described."""
    for line in report.lines():
        note(f"data: {line}")


def split_name(given: str) -> Split:
    """A split by the name a user typed. Raises DataError for an unknown one."""
    for split in SPLITS:
        if given == split:
            return split
    raise DataError(f"--split {given!r} is unknown; use {', '.join(SPLITS)}")
