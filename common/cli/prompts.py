"""`sumkit prompts`: each template filled in, its overhead in tokens, and which part is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

DOCUMENT = (
    "The lift in the east stairwell stopped twice this week. Marta from facilities called the maker, who found a "
    "worn door sensor and will replace it on Thursday; until then only the west lift may carry goods."
)
SUMMARY = "A worn door sensor stops the east lift, so goods go by the west lift until it is replaced on Thursday."


@click.command("prompts")
@click.option("--model", default="", help="Show tokens of this model (default: text only).")
@click.option("--template", default="", help="Only this template: a name or a YAML file.")
@click.option("--document", "document_file", type=click.Path(path_type=Path), help="Fill in this text file.")
@click.option("--max-words", type=int, default=30, show_default=True, help="Word limit the templates ask for.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(model: str, template: str, document_file: Path | None, max_words: int, as_json: bool) -> None:
    """Show the prompt templates filled in; the trained part stands between >>> and <<<.

    \b
    Examples:
      sumkit prompts
      sumkit prompts --model smollm2-135m --template chat
      sumkit prompts --template my-template.yaml --document notes.txt
    """
    from common.data.prompts import BUILT_IN, find_template
    from common.errors import DataError

    document = DOCUMENT
    if document_file:
        try:
            document = document_file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"--document {document_file}: cannot be read as UTF-8 text ({error})") from None
    chosen = [find_template(template)] if template else list(BUILT_IN.values())
    tokenizer = _tokenizer(model) if model else None
    rows = [_row(item, tokenizer, document, max_words, model) for item in chosen]
    if as_json:
        click.echo(json.dumps({"model": model or None, "templates": rows}))
        return
    for row in rows:
        overhead = f", {row['overhead_tokens']} tokens beside the document" if row["overhead_tokens"] else ""
        click.echo(click.style(f"== {row['name']}{overhead}", bold=True))
        click.echo(f"{row['prompt']}>>>{row['trained']}<<<\n" if row["prompt"] else f"({row['note']})\n")


def _tokenizer(model: str) -> Any:
    from common.models import resolve_model
    from common.tokenizer import load_tokenizer

    return load_tokenizer(resolve_model(model).directory)


def _row(template: Any, tokenizer: Any, document: str, max_words: int, model: str) -> dict[str, Any]:
    from common.data.prompts import PromptFormat
    from common.errors import ModelError

    row: dict[str, Any] = {"name": template.name, "prompt": "", "trained": "", "overhead_tokens": None, "note": ""}
    if tokenizer is None:
        if template.chat:
            row["note"] = "needs the model's own chat template: add --model"
            return row
        text = template.text.replace("{max_words}", str(max_words)).replace("{document}", document)
        return {**row, "prompt": text, "trained": f"{template.join}{SUMMARY}[EOS]"}
    try:
        form = PromptFormat(template, tokenizer, max_length=1 << 20, max_words=max_words, model_name=model)
    except ModelError as error:
        return {**row, "note": str(error)}
    prompt = form.prompts([document], max_new_tokens=64)[0]
    shown = tokenizer.decode_all(prompt.tokens)
    trained = tokenizer.decode_all(form.summary_ids([SUMMARY])[0])
    return {**row, "prompt": shown, "trained": trained, "overhead_tokens": form.overhead}
