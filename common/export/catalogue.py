"""The export formats by name."""

from __future__ import annotations

from common.errors import UsageError
from common.export import to_gguf, to_merged, to_mlx, to_mlx_4bit, to_ollama, to_peft, to_space
from common.export.formats import ExportFormat

FORMATS: dict[str, ExportFormat] = {
    module.FORMAT.name: module.FORMAT
    for module in (to_peft, to_mlx, to_merged, to_mlx_4bit, to_gguf, to_ollama, to_space)
}


def find_format(name: str) -> ExportFormat:
    """A format by name. Raises UsageError naming those there are."""
    if name not in FORMATS:
        raise UsageError(f"--to {name}: there is no such format; choose from {', '.join(FORMATS)}")
    return FORMATS[name]
