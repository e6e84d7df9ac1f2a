"""Base and adapter merged into one GGUF file, quantized by llama.cpp's own quantizer."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from common.export.answers import Answers, Sample
from common.export.formats import ExportFormat
from common.export.gguf_model import GgufText, write_gguf
from common.export.gguf_tokenizer import read_vocabulary
from common.export.llama_cpp import describe_types, library, quantize
from common.export.model_directory import copy_licence
from common.export.prompt_text import jinja_template
from common.export.run_with_engine import Reference
from common.export.run_with_llama_cpp import gguf_answers
from common.export.source import ExportOptions, ExportSource


def file_name(source: ExportSource, options: ExportOptions) -> str:
    """`<run>-<type>.gguf`."""
    run = re.sub(r"[^A-Za-z0-9._-]+", "-", source.run.path.resolve().name)
    return f"{run}-{options.gguf_type}.gguf"


def write(source: ExportSource, options: ExportOptions, directory: Path) -> list[str]:
    """Write the file, in 16 bits first and from that quantized. Raises EngineError without llama.cpp's library."""
    if options.gguf_type != "f16":
        library()  # fail before the long part
    target = directory / file_name(source, options)
    whole = target if options.gguf_type == "f16" else target.with_suffix(".f16.partial")
    pretrained = _pretrained_tokenizer(source)
    about = {"name": target.stem, "description": f"Summarizer fine-tuned from {source.base_name}"}
    weights = source.merged(options)
    vocabulary = read_vocabulary(pretrained.backend_tokenizer.to_str(), weights.shape.vocab_size)
    write_gguf(whole, weights, source.base_config(), vocabulary, _text(source, pretrained), about)
    if whole != target:
        quantize(whole, target, options.gguf_type)
        whole.unlink()
    copy_licence(source, directory)
    notes = describe_types(target, options.gguf_type)
    shape = source.model.shape
    if shape.sliding_window and shape.sliding_window < source.form.max_length:
        notes.append(f"llama.cpp attends beyond the model's sliding window of {shape.sliding_window} tokens")
    return notes


def _pretrained_tokenizer(source: ExportSource) -> Any:
    from transformers import AutoTokenizer

    if source.tokenizer.added_ids:
        return source.tokenizer.pretrained
    return AutoTokenizer.from_pretrained(str(source.model.directory), trust_remote_code=False)


def _text(source: ExportSource, pretrained: Any) -> GgufText:
    others = [token for token in source.form.eos_ids if token != source.form.eos_id]
    return GgufText(
        eos_id=source.form.eos_id,
        eot_id=others[0] if others else None,
        bos_id=pretrained.bos_token_id,
        pad_id=pretrained.pad_token_id,
        unk_id=pretrained.unk_token_id,
        add_bos=bool(source.prompt.bos),
        chat_template=jinja_template(source.prompt),
    )


def answers(
    source: ExportSource, options: ExportOptions, directory: Path, sample: Sample, reference: Reference
) -> Answers:
    """What llama.cpp says with the file."""
    return gguf_answers(directory / file_name(source, options), sample, source.prompt, source.form)


def usage(source: ExportSource, options: ExportOptions, name: str) -> str:
    """How to run it with llama.cpp."""
    file = file_name(source, options)
    tokens = source.config.generation.max_new_tokens
    return f"""The document is the user's message; the chat template in the file adds the prompt.

```sh
llama-server -m {file} --jinja --temp 0
curl http://127.0.0.1:8080/v1/chat/completions -H 'Content-Type: application/json' \\
  -d '{{"messages": [{{"role": "user", "content": "…the document…"}}], "max_tokens": {tokens}}}'
```"""


FORMAT = ExportFormat(
    name="gguf",
    summary="Base and adapter merged into one GGUF file (--gguf-type f16, q8_0 or q4_k_m), for llama.cpp.",
    write=write,
    answers=answers,
    usage=usage,
    library="gguf",
    relation="quantized",
    quantizes=lambda options: options.gguf_type != "f16",
)
