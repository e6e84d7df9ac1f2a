"""The adapter as mlx-lm's commands read it with `--adapter-path`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import AdapterError, ModelError
from common.export.answers import Answers, Sample
from common.export.formats import ExportFormat
from common.export.run_with_engine import Reference
from common.export.run_with_mlx_lm import mlx_lm_answers
from common.export.source import ExportOptions, ExportSource
from common.model.adapter import PREFIX

_LEAVES = {"lora_A": "lora_a", "lora_B": "lora_b"}


def write(source: ExportSource, options: ExportOptions, directory: Path) -> list[str]:
    """Write adapters.safetensors (matrices transposed: lora_a (in, r), lora_b (r, out)) and adapter_config.json.

    Raises ModelError for a base whose rotary settings mlx-lm would not see, AdapterError for DoRA or added
    tokens.
    """
    from safetensors.numpy import save_file

    if source.adapter.lora.dora:
        raise AdapterError(
            "this run's adapter is DoRA's, which mlx-lm's adapter layout holds in another form; export --to merged, "
            "mlx-4bit or gguf, which add it to the weights, or --to peft"
        )
    if source.adapter.lora.token_ids:
        raise AdapterError(
            "this run's adapter holds rows of added tokens, for which mlx-lm's adapter layout has no place; export "
            "--to merged, mlx-4bit or gguf, which add them to the weights, or --to peft"
        )
    _check_base(source)
    tensors: dict[str, np.ndarray] = {}
    layers: set[int] = set()
    keys: set[str] = set()
    for name, matrix in source.adapter.weights.items():
        path, leaf, _ = name.removeprefix(PREFIX).rsplit(".", 2)
        tensors[f"{path}.{_LEAVES[leaf]}"] = np.ascontiguousarray(matrix.T)
        number, key = path.removeprefix("model.layers.").split(".", 1)
        layers.add(int(number))
        keys.add(key)
    save_file(tensors, str(directory / "adapters.safetensors"), metadata={"format": "mlx"})
    lora = source.adapter.lora
    config: dict[str, Any] = {
        "model": source.base_name,
        "fine_tune_type": "lora",
        "num_layers": source.model.shape.layers - min(layers),
        "lora_parameters": {"rank": lora.rank, "scale": lora.scale, "dropout": 0.0, "keys": sorted(keys)},
    }
    (directory / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return []


def _check_base(source: ExportSource) -> None:
    """mlx-lm reads rotary settings at the top level of config.json only, and falls back to defaults in silence."""
    config = source.base_config()
    hidden = [key for key in ("rope_theta", "partial_rotary_factor") if key in (config.get("rope_parameters") or {})]
    missing = [key for key in hidden if key not in config]
    if missing:
        raise ModelError(
            f"{source.base_name}: its config.json has {' and '.join(missing)} under rope_parameters only, where mlx-lm "
            "does not look; export --to merged or mlx-4bit, which write them where it does"
        )


def answers(
    source: ExportSource, options: ExportOptions, directory: Path, sample: Sample, reference: Reference
) -> Answers:
    """What plain mlx-lm says with it on the unquantized base."""
    return mlx_lm_answers(source.model.directory, directory, sample, source.tokenizer.decode)


def usage(source: ExportSource, options: ExportOptions, name: str) -> str:
    """How to use it from the command line."""
    return f"""```python
from mlx_lm import generate, load

model, tokenizer = load({source.base_name!r}, adapter_path={name!r})
prompt = {source.prompt.before!r} + document.strip() + {source.prompt.after!r}
prompt = tokenizer.encode(prompt, add_special_tokens={bool(source.prompt.bos)})
print(generate(model, tokenizer, prompt, max_tokens={source.config.generation.max_new_tokens}))
```

On the command line the prompt is given as it is, with `--ignore-chat-template`:

```sh
mlx_lm.generate --model {source.base_name} --adapter-path {name} --ignore-chat-template --prompt - < prompt.txt
```"""


FORMAT = ExportFormat(
    name="mlx",
    summary="The adapter in mlx-lm's layout, for Apple silicon.",
    write=write,
    answers=answers,
    usage=usage,
    library="mlx",
    relation="adapter",
    adapter=True,
)
