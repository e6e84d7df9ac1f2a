"""Prompt templates compared on one dev set: the untuned model under each, and runs that were trained under one.

Every row is scored on the same documents, with intervals, paired differences from the best zero-shot template, and
what the template costs in tokens. Knows nothing of how a run was trained.
"""

from __future__ import annotations

import dataclasses
import gc
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.data.prompts import PromptFormat, Template
from common.data.sources import load_splits
from common.engine import Engine, EngineName, GenerationSpec, choose_engine, load_engine
from common.errors import DataError, ModelError
from common.evaluation.evaluate import SystemScores, generate_predictions, score_predictions
from common.metrics.bootstrap import bootstrap_intervals, outcome, paired_difference
from common.progress import note
from common.run.directory import environment_facts
from common.run.loaded_run import load_run
from common.run.model_prompt import open_prompt
from common.run.preparation import engine_spec, generation_spec, subset
from common.settings import RunConfig
from common.sweep.sweep import DEFINITION
from common.sweep.trial import read_scores
from common.text.amounts import read_interval
from common.text.names import ROUGE_METRICS, metric_label
from common.text.table import text_table
from common.types import Example


@dataclass(frozen=True)
class Scored:
    """One template's summaries. `run` is empty where the model is untuned; `overhead` counts template tokens."""

    template: str
    run: str
    overhead: int
    prompt_tokens: float
    system: SystemScores


def score_prompts(
    config: RunConfig, templates: Sequence[Template], runs: Sequence[Path] = (), limit: int = 0
) -> dict[str, Any]:
    """Score the untuned `config.model` under each template, and each run under its own, on `limit` dev documents.

    A sweep's directory stands for its finished trials. Templates that the model cannot use are noted and left out.
    Raises DataError where there is no dev document or no row to score.
    """
    splits = load_splits(config.data, config.training.seed, require_train=False)
    examples = subset(splits.dev, limit, config.training.seed)
    if not examples:
        raise DataError(f"{config.data.data}: has no dev documents to score the templates on")
    name, why = choose_engine(config.output.engine)
    note(f"engine {name} ({why}); {len(examples)} dev documents")
    rows = _zero_shot(config, templates, examples, name)
    gc.collect()
    for path in _each_run(runs):
        rows.append(_tuned(path, examples, config.output.engine))
        gc.collect()
    if not rows:
        raise DataError(f"none of the templates can be used with {config.model.model}; see the notes above")
    return _results(config, rows, len(examples))


def _zero_shot(
    config: RunConfig, templates: Sequence[Template], examples: Sequence[Example], name: EngineName
) -> list[Scored]:
    if not templates:
        return []
    opened = open_prompt(config)
    engine = load_engine(name, engine_spec(config, opened.model, None))
    rows = []
    for template in templates:
        try:
            form = opened.under(template)
        except ModelError as error:
            note(f"template {template.name} is left out: {error}")
            continue
        spec = generation_spec(config, form.eos_ids)
        rows.append(_score(engine, form, spec, examples, f"{template.name}, untuned"))
    return rows


def _tuned(path: Path, examples: Sequence[Example], requested: str) -> Scored:
    loaded = load_run(path, requested)
    spec = generation_spec(loaded.config, loaded.prompt_format.eos_ids)
    label = f"{loaded.template.name}, {path.name}"
    return dataclasses.replace(_score(loaded.engine, loaded.prompt_format, spec, examples, label), run=str(path))


def _score(engine: Engine, form: PromptFormat, spec: GenerationSpec, examples: Sequence[Example], label: str) -> Scored:
    began = time.monotonic()
    predictions = generate_predictions(engine, form, examples, spec, label)
    system, _ = score_predictions(label, predictions, examples)
    system = dataclasses.replace(system, seconds=time.monotonic() - began)
    prompts = form.example_prompts(examples, spec.max_new_tokens)
    mean = sum(len(prompt.tokens) for prompt in prompts) / len(prompts)
    return Scored(form.template.name, "", form.overhead, mean, system)


def _each_run(paths: Sequence[Path]) -> list[Path]:
    """Run directories, those of a sweep's finished trials in place of the sweep."""
    found: list[Path] = []
    for path in paths:
        if not (path / DEFINITION).is_file():
            found.append(path)
            continue
        trials = [run for run in sorted((path / "trials").iterdir()) if read_scores(run, 1.0)]
        if not trials:
            raise DataError(f"{path}: the sweep has no finished trial")
        found += trials
    return found


def _results(config: RunConfig, rows: Sequence[Scored], examples: int) -> dict[str, Any]:
    untuned = [row for row in rows if not row.run] or list(rows)
    best = max(untuned, key=lambda row: float(row.system.scores["rouge1"].mean()))
    listed: list[dict[str, Any]] = []
    for row in rows:
        stops = Counter(prediction.stop_reason for prediction in row.system.predictions)
        intervals = bootstrap_intervals({name: row.system.scores[name] for name in ROUGE_METRICS})
        listed.append(
            {
                "template": row.template,
                "run": row.run or None,
                "overhead_tokens": row.overhead,
                "mean_prompt_tokens": round(row.prompt_tokens, 1),
                **{name: dataclasses.asdict(interval) for name, interval in intervals.items()},
                "against_best_zero_shot": None
                if row is best
                else paired_difference(row.system.scores["rouge1"], best.system.scores["rouge1"]).as_dict(),
                "stop_reasons": {reason: stops.get(reason, 0) for reason in ("eos", "length", "error")},
                "seconds": round(row.system.seconds, 2),
            }
        )
    listed.sort(key=lambda row: (row["run"] is None, -row["rouge1"]["mean"]))
    return {
        "data": config.data.data,
        "model": config.model.model,
        "documents": examples,
        "best_zero_shot": best.template if not best.run else None,
        "templates": listed,
        "environment": environment_facts(),
    }


def prompt_table(results: dict[str, Any]) -> str:
    """One line a template, tuned ones first, then what the zero-shot choice rests on."""
    rows = []
    for row in results["templates"]:
        label = f"{row['template']}{', fine-tuned' if row['run'] else ', zero-shot'}"
        finished = f"{row['stop_reasons']['eos']} of {results['documents']}"
        rows.append(
            [label, str(row["overhead_tokens"]), *(str(read_interval(row[m])) for m in ROUGE_METRICS), finished]
        )
    lines = [text_table(["template", "tokens", *map(metric_label, ROUGE_METRICS), "finished"], rows)]
    zero = [row for row in results["templates"] if not row["run"]]
    if len(zero) > 1:
        gap = zero[1]["against_best_zero_shot"]
        clear = outcome(gap["low"], gap["high"], gap["p_value"]) == "worse"
        sure = "a clear choice" if clear else "not distinguishable on these documents"
        lines.append(
            f"\nbest zero-shot: {zero[0]['template']}, ahead of {zero[1]['template']} by "
            f"{-gap['mean']:.1f} ROUGE-1 [{-gap['high']:.1f}, {-gap['low']:.1f}] on {results['documents']} documents: "
            f"{sure}"
        )
    return "\n".join(lines)
