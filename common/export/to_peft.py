"""The adapter as PEFT reads it. A run stores this layout already; the copy names its base by Hub id."""

from __future__ import annotations

from pathlib import Path

from common.errors import ModelError
from common.export.answers import Answers, Sample
from common.export.formats import ExportFormat
from common.export.run_with_engine import Reference
from common.export.run_with_peft import peft_answers
from common.export.source import ExportOptions, ExportSource
from common.model.adapter import write_adapter
from common.model.token_rows import grown_shape


def write(source: ExportSource, options: ExportOptions, directory: Path) -> list[str]:
    """Write adapter_config.json and adapter_model.safetensors.

    Raises ModelError for a base quantized by MLX, which PEFT cannot load.
    """
    if "quantization" in source.base_config():
        raise ModelError(
            f"{source.base_name} is quantized by MLX and cannot be loaded by PEFT; export --to merged, "
            "or train on the unquantized model"
        )
    write_adapter(directory, source.adapter.weights, source.adapter.lora, source.base_name)
    if not source.tokenizer.added_ids:
        return []
    source.tokenizer.pretrained.save_pretrained(directory)
    rows = _grown_rows(source)
    room = f"; the base needs {rows} rows first: base.resize_token_embeddings({rows})" if rows else ""
    return [f"with the tokenizer, which has {len(source.tokenizer.added_ids)} added tokens{room}"]


def _grown_rows(source: ExportSource) -> int:
    """Rows that the base has to be resized to before the adapter is loaded; 0 where its own are enough."""
    rows = grown_shape(source.model.shape, source.adapter.lora).vocab_size
    return rows if rows != source.model.shape.vocab_size else 0


def answers(
    source: ExportSource, options: ExportOptions, directory: Path, sample: Sample, reference: Reference
) -> Answers:
    """What plain transformers and PEFT say with it."""
    return peft_answers(
        source.model.directory, directory, sample, source.tokenizer.decode, reference.compute_dtype, _grown_rows(source)
    )


def usage(source: ExportSource, options: ExportOptions, name: str) -> str:
    """How to load it."""
    rows = _grown_rows(source)
    tokenizer = name if source.tokenizer.added_ids else source.base_name
    resize = f"base.resize_token_embeddings({rows})\n" if rows else ""
    return f"""```python
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained({tokenizer!r})
base = AutoModelForCausalLM.from_pretrained({source.base_name!r})
{resize}model = PeftModel.from_pretrained(base, {name!r})
prompt = {source.prompt.before!r} + document.strip() + {source.prompt.after!r}
inputs = tokenizer(prompt, return_tensors="pt", add_special_tokens={bool(source.prompt.bos)})
output = model.generate(**inputs, max_new_tokens={source.config.generation.max_new_tokens}, do_sample=False,
                        eos_token_id={list(source.form.eos_ids)})
print(tokenizer.decode(output[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True).strip())
```"""


FORMAT = ExportFormat(
    name="peft",
    summary="The adapter in PEFT's layout, for transformers.",
    write=write,
    answers=answers,
    usage=usage,
    library="peft",
    relation="adapter",
    adapter=True,
)
