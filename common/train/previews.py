"""Summaries generated while training: a ROUGE figure on a dev sample, and texts for a person to read."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from common.data.prompts import PromptFormat
from common.engine import Engine, GenerationSpec
from common.errors import DataError
from common.files import disk_error
from common.progress import note
from common.run.directory import RunDirectory
from common.safe_text import one_line
from common.settings import RunConfig
from common.types import Example


def dev_rouge_hook(
    engine: Engine, form: PromptFormat, dev: Sequence[Example], config: RunConfig, spec: GenerationSpec
) -> Callable[[], dict[str, float]] | None:
    """ROUGE-1, -2 and -L (percent, best reference) of summaries of the first dev documents; None when not asked for."""
    count = config.evaluation.eval_rouge
    sample = list(dev)[:count]
    if not sample:
        return None

    def score() -> dict[str, float]:
        from common.metrics.rouge import rouge_scores

        texts = summarize_examples(engine, form, sample, spec)
        scores = rouge_scores(texts, [example.all_references for example in sample])
        return {name: float(scores.fmeasure[name].mean()) for name in ("rouge1", "rouge2", "rougeL")}

    return score


def preview_hook(
    engine: Engine,
    form: PromptFormat,
    dev: Sequence[Example],
    config: RunConfig,
    spec: GenerationSpec,
    run: RunDirectory,
) -> Callable[[int], None] | None:
    """Shows summaries of fixed documents and keeps them in previews.jsonl; None when not asked for."""
    if not config.evaluation.preview_every:
        return None
    documents = preview_examples(config, dev)

    def show(step: int) -> None:
        texts = summarize_examples(engine, form, documents, spec)
        for index, text in enumerate(texts):
            note(f"step {step}, preview {index + 1}: {one_line(text)}")
        rows = [{"step": step, "preview": index + 1, "summary": text} for index, text in enumerate(texts)]
        try:
            with run.previews.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)
        except OSError as error:
            raise disk_error(run.previews, error) from None

    return show


def preview_examples(config: RunConfig, dev: Sequence[Example]) -> list[Example]:
    """The user's own documents (one a line, or JSONL with `document`), else the first dev examples."""
    settings = config.evaluation
    if not settings.preview_prompts:
        return list(dev[: settings.preview_count])
    path = Path(settings.preview_prompts)
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        documents = [str(json.loads(line)["document"]) for line in lines] if path.suffix == ".jsonl" else lines
    except OSError as error:
        raise DataError(f"--preview-prompts {path}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"--preview-prompts {path}: each line must be an object with `document` ({error})") from None
    if not documents:
        raise DataError(f"--preview-prompts {path}: holds no document")
    return [Example(f"preview-{number}", text, "") for number, text in enumerate(documents, 1)]


def summarize_examples(
    engine: Engine, form: PromptFormat, examples: Sequence[Example], spec: GenerationSpec
) -> list[str]:
    """Summaries (of conversations, last turns) as text, in order."""
    prompts = [prompt.tokens for prompt in form.example_prompts(examples, spec.max_new_tokens)]
    return [form.tokenizer.decode(item.tokens) for item in engine.generate(prompts, spec)]
