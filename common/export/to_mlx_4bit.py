"""Base and adapter merged, then quantized to 4 bits by mlx-lm, for Apple silicon."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from common.errors import EngineError
from common.export.answers import Answers, Sample
from common.export.formats import ExportFormat
from common.export.model_directory import write_model_directory
from common.export.run_with_engine import Reference
from common.export.run_with_mlx_lm import mlx_lm_answers
from common.export.source import ExportOptions, ExportSource

BITS = 4


def write(source: ExportSource, options: ExportOptions, directory: Path) -> list[str]:
    """Write an MLX model directory: linear layers in 4 bits, embeddings and head in 16, as in training.

    Raises EngineError when mlx-lm is not installed.
    """
    try:
        from mlx_lm.utils import load_model, quantize_model, save_config, save_model
    except ImportError as error:
        raise EngineError(f"the mlx-4bit export needs mlx-lm ({error}): pip install 'sumkit[mlx]'") from None
    widths = {linear.path: linear.in_features for linear in source.model.shape.linears()}
    group_size = 64 if all(width % 64 == 0 for width in widths.values()) else 32
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".merged-") as aside:
        merged = Path(aside)
        write_model_directory(source, options, merged)
        with contextlib.redirect_stdout(sys.stderr):
            model, config = load_model(merged, lazy=True)

            def chosen(path: str, module: Any) -> bool:
                return path in widths

            model, config = quantize_model(model, config, group_size, BITS, quant_predicate=chosen)
            save_model(directory, model, donate_model=True)
            save_config(config, config_path=directory / "config.json")
        for path in merged.iterdir():
            if not path.name.startswith("model") and path.name != "config.json":
                shutil.copyfile(path, directory / path.name)
    left = sorted({width for width in widths.values() if width % group_size})
    notes = [f"linear layers in {BITS} bits, groups of {group_size}; embeddings and head in 16 bits"]
    if left:
        notes.append(f"layers with rows of {', '.join(map(str, left))} values stay in 16 bits: not whole groups")
    return notes


def answers(
    source: ExportSource, options: ExportOptions, directory: Path, sample: Sample, reference: Reference
) -> Answers:
    """What plain mlx-lm says with it."""
    return mlx_lm_answers(directory, None, sample, source.tokenizer.decode)


def usage(source: ExportSource, options: ExportOptions, name: str) -> str:
    """How to use it from the command line."""
    return f"""The document is the user's message; the chat template adds the prompt.

```sh
mlx_lm.generate --model {name} --max-tokens {source.config.generation.max_new_tokens} --prompt - < document.txt
```"""


FORMAT = ExportFormat(
    name="mlx-4bit",
    summary="Base and adapter merged and quantized to 4 bits for MLX.",
    write=write,
    answers=answers,
    usage=usage,
    library="mlx",
    relation="quantized",
    quantizes=lambda options: True,
)
