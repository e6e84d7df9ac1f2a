"""A GGUF file with the Modelfile that makes it an Ollama model: the training prompt, the stop tokens, greedy."""

from __future__ import annotations

import re
from pathlib import Path

from common.export import to_gguf
from common.export.formats import ExportFormat
from common.export.prompt_text import ollama_template
from common.export.source import ExportOptions, ExportSource

CONTEXT_ROUNDING = 256


def write(source: ExportSource, options: ExportOptions, directory: Path) -> list[str]:
    """Write the GGUF file and the Modelfile. Raises as the GGUF export does."""
    text = modelfile(source, options)
    notes = to_gguf.write(source, options, directory)
    (directory / "Modelfile").write_text(text, encoding="utf-8")
    return [*notes, f"make it an Ollama model with: ollama create {model_name(source)} -f Modelfile"]


def modelfile(source: ExportSource, options: ExportOptions) -> str:
    """The Modelfile's text. The context holds the longest prompt of training and a summary."""
    room = source.form.max_length + source.config.generation.max_new_tokens
    context = min(-(-room // CONTEXT_ROUNDING) * CONTEXT_ROUNDING, source.model.shape.context_tokens)
    stops = "".join(f'PARAMETER stop "{text}"\n' for text in source.prompt.stop)
    return (
        f"# A summarizer fine-tuned from {source.base_name}: give it a document as the prompt.\n"
        f"FROM ./{to_gguf.file_name(source, options)}\n"
        f'TEMPLATE """{ollama_template(source.prompt)}"""\n'
        f"{stops}"
        "PARAMETER temperature 0\n"
        f"PARAMETER num_ctx {context}\n"
        f"PARAMETER num_predict {source.config.generation.max_new_tokens}\n"
    )


def model_name(source: ExportSource) -> str:
    """The run's name as Ollama allows names."""
    return re.sub(r"[^a-z0-9._-]+", "-", source.run.path.resolve().name.lower()).strip("-._") or "summarizer"


def usage(source: ExportSource, options: ExportOptions, name: str) -> str:
    """How to make and run it."""
    model = model_name(source)
    return f"""```sh
ollama create {model} -f Modelfile
ollama run {model} "$(cat document.txt)"
```"""


FORMAT = ExportFormat(
    name="ollama",
    summary="A GGUF file and a Modelfile with the training prompt and stop tokens.",
    write=write,
    answers=to_gguf.answers,
    usage=usage,
    library="gguf",
    relation="quantized",
    quantizes=to_gguf.FORMAT.quantizes,
)
