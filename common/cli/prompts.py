"""`sumkit prompts`: each template filled in, its overhead in tokens, and which part is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from common.cli.options import config_from, settings_options

if TYPE_CHECKING:
    from common.data.prompts import Template
    from common.run.model_prompt import ModelPrompt

SCORING = ("data", "document_column", "summary_column", "dev_fraction", "max_length", "quantize", "dtype",
           "max_new_tokens", "generation_batch_tokens", "seed", "engine")  # fmt: skip
LONGEST = 1 << 20  # tokens; a prompt that is shown is cut by the model's context alone
DOCUMENT = (
    "The lift in the east stairwell stopped twice this week. Marta from facilities called the maker, who found a "
    "worn door sensor and will replace it on Thursday; until then only the west lift may carry goods."
)
SUMMARY = "A worn door sensor stops the east lift, so goods go by the west lift until it is replaced on Thursday."


@click.command("prompts")
@click.option("--model", default="", help="Show tokens of this model (default: text only).")
@click.option("--template", "templates", multiple=True,
              help="Only this template: a name or a YAML file; may be given several times.")  # fmt: skip
@click.option("--document", "document_file", type=click.Path(path_type=Path), help="Fill in this text file.")
@click.option("--max-words", type=click.IntRange(min=1), default=30, show_default=True,
              help="Word limit the templates ask for.")  # fmt: skip
@click.option("--score", is_flag=True, help="Summarize dev documents of --data under each template and score them.")
@click.option("--tuned", type=click.Path(path_type=Path), multiple=True, metavar="RUN",
              help="With --score: also score this run, or each finished trial of this sweep.")  # fmt: skip
@click.option("--limit", type=click.IntRange(min=0), default=50, show_default=True,
              help="With --score: at most this many dev documents (0: all).")  # fmt: skip
@settings_options(names=SCORING)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(
    model: str,
    templates: tuple[str, ...],
    document_file: Path | None,
    max_words: int,
    score: bool,
    tuned: tuple[Path, ...],
    limit: int,
    as_json: bool,
    **flags: Any,
) -> None:
    """Show the prompt templates filled in; the trained part stands between >>> and <<<.

    With --score, every template is tried on the same dev documents: ROUGE with 95 % intervals, the tokens that the
    template adds to a document, and how many summaries ended by themselves; runs given with --tuned stand beside.

    \b
    Examples:
      sumkit prompts
      sumkit prompts --model smollm2-135m --template chat
      sumkit prompts --template my-template.yaml --document notes.txt
      sumkit prompts --score --data notes/ --model smollm2-135m
      sumkit prompts --score --data notes/ --model smollm2-135m --tuned runs/sweep-templates
    """
    from common.data.cleaning import clean_text
    from common.data.prompts import BUILT_IN, find_template
    from common.errors import DataError, UsageError
    from common.run.model_prompt import open_prompt

    given = [name for name, value in {**flags, "tuned": tuned or None}.items() if value is not None]
    if given and not score:
        raise UsageError(f"--{given[0].replace('_', '-')} is for scoring; add --score")
    document = DOCUMENT
    if document_file:
        try:
            document = clean_text(document_file.read_text(encoding="utf-8-sig"))
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"--document {document_file}: cannot be read as UTF-8 text ({error})") from None
    chosen = [find_template(name) for name in templates] if templates else list(BUILT_IN.values())
    if score:
        _score(model, chosen, tuned, limit, {**flags, "max_words": max_words}, as_json)
        return
    shown = {"model": model, "max_length": LONGEST, "max_words": max_words}
    opened = open_prompt(config_from(shown)) if model else None
    rows = [_row(item, opened, document, max_words) for item in chosen]
    if as_json:
        click.echo(json.dumps({"model": model or None, "templates": rows}))
        return
    for row in rows:
        overhead = f", {row['overhead_tokens']} tokens beside the document" if row["overhead_tokens"] else ""
        click.echo(click.style(f"== {row['name']}{overhead}", bold=True))
        click.echo(f"{row['prompt']}>>>{row['trained']}<<<\n" if row["prompt"] else f"({row['note']})\n")


def _score(
    model: str, chosen: list[Any], tuned: tuple[Path, ...], limit: int, flags: dict[str, Any], as_json: bool
) -> None:
    from common.errors import UsageError
    from common.sweep.prompt_scores import prompt_table, score_prompts

    if not flags.get("data"):
        raise UsageError("--score needs --data: a directory, a file or a data set name with dev documents")
    results = score_prompts(config_from({**flags, "model": model or None}), chosen, tuned, limit)
    click.echo(json.dumps(results) if as_json else prompt_table(results))


def _row(template: Template, opened: ModelPrompt | None, document: str, max_words: int) -> dict[str, Any]:
    from common.errors import ModelError

    row: dict[str, Any] = {"name": template.name, "prompt": "", "trained": "", "overhead_tokens": None, "note": ""}
    if opened is None:
        if template.chat:
            row["note"] = "needs the model's own chat template: add --model"
            return row
        text = template.text.replace("{max_words}", str(max_words)).replace("{document}", document)
        return {**row, "prompt": text, "trained": f"{template.join}{SUMMARY}[EOS]"}
    try:
        form = opened.under(template)
    except ModelError as error:
        return {**row, "note": str(error)}
    prompt = form.prompts([document], max_new_tokens=64)[0]
    shown = opened.tokenizer.decode_all(prompt.tokens)
    trained = opened.tokenizer.decode_all(form.summary_ids([SUMMARY])[0])
    return {**row, "prompt": shown, "trained": trained, "overhead_tokens": form.overhead}
