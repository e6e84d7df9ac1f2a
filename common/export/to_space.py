"""A folder that is a Hugging Face Space: a page to paste documents into, running the GGUF file on a free CPU."""

from __future__ import annotations

import json
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from common.export import space_app, to_gguf
from common.export.formats import ExportFormat
from common.export.source import ExportOptions, ExportSource

SETTINGS_NAME = "summarizer.json"
DOCUMENT = -1  # stands for the document in a prompt; no token has this id


def write(source: ExportSource, options: ExportOptions, directory: Path) -> list[str]:
    """Write app.py, requirements.txt, summarizer.json and the GGUF file. Raises as the GGUF export does."""
    notes = to_gguf.write(source, options, directory)
    shutil.copyfile(Path(space_app.__file__), directory / "app.py")
    (directory / "requirements.txt").write_text(_requirement("xllamacpp") + "\n", encoding="utf-8")
    settings = space_settings(source, options)
    (directory / SETTINGS_NAME).write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return [*notes, "try it here with: pip install gradio xllamacpp && python app.py"]


def space_settings(source: ExportSource, options: ExportOptions) -> dict[str, object]:
    """What app.py needs to know: the prompt as token ids, and lengths in tokens."""
    new_tokens = source.config.generation.max_new_tokens
    form = source.form
    whole = form.prompt_from_ids((DOCUMENT,), 1).tokens
    position = whole.index(DOCUMENT)
    room = form.document_room(min(form.max_summary_tokens, new_tokens, form.max_length // 2))
    return {
        "title": f"Summarizer: {source.run.path.resolve().name}",
        "description": f"Fine-tuned from {source.base_name}. Runs on this page's own CPU; nothing is stored.",
        "file": to_gguf.file_name(source, options),
        "tokens_before": list(whole[:position]),
        "tokens_after": list(whole[position + 1 :]),
        "max_document_tokens": room,
        "max_new_tokens": new_tokens,
        "context_tokens": form.overhead + room + new_tokens + 8,
    }


def _requirement(package: str) -> str:
    """The package, pinned to the version that the export was checked with."""
    try:
        return f"{package}=={version(package)}"
    except PackageNotFoundError:
        return package


def usage(source: ExportSource, options: ExportOptions, name: str) -> str:
    """How to put it on the Hub."""
    return "Paste a document into the page; the summary is written as you watch. To run it elsewhere: `python app.py`."


FORMAT = ExportFormat(
    name="space",
    summary="A folder ready to be a Hugging Face Space on its free CPU: page, requirements, GGUF file.",
    write=write,
    answers=to_gguf.answers,
    usage=usage,
    library="gguf",
    relation="quantized",
    quantizes=to_gguf.FORMAT.quantizes,
)
