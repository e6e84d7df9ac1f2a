"""Every export of a run, each verified as it is made: size, time, logits, greedy summaries and what they score.

    python -m benchmarks.exports --run RUN [--sample 8] [--only peft merged gguf-q8_0 …] [--out DIR]

The exports themselves go into a temporary folder. An export that does not pass is reported and counted, not hidden.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.record import RESULTS, headline, write_result
from common.errors import SumkitError
from common.export.export import CheckOptions, export_run
from common.export.source import ExportOptions

FORMATS: dict[str, tuple[str, ExportOptions]] = {
    "peft": ("peft", ExportOptions()),
    "mlx": ("mlx", ExportOptions()),
    "merged": ("merged", ExportOptions()),
    "mlx-4bit": ("mlx-4bit", ExportOptions()),
    "gguf-f16": ("gguf", ExportOptions(gguf_type="f16")),
    "gguf-q8_0": ("gguf", ExportOptions(gguf_type="q8_0")),
    "gguf-q4_k_m": ("gguf", ExportOptions(gguf_type="q4_k_m")),
    "ollama": ("ollama", ExportOptions(gguf_type="q8_0")),
    "space": ("space", ExportOptions(gguf_type="q8_0")),
}


def main() -> None:
    """Export, print a block for each format, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--sample", type=int, default=8, help="documents each export is checked on")
    parser.add_argument("--only", nargs="+", choices=list(FORMATS), default=list(FORMATS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for label in arguments.only:
            rows.append(export_one(label, arguments.run, Path(folder) / label, arguments.sample))
            print(label, *rows[-1].get("lines", [rows[-1].get("failed", "")]), sep="\n  ", flush=True)
    passed = sum("failed" not in row for row in rows)
    path = write_result(
        "exports",
        f"python -m benchmarks.exports --run RUN --sample {arguments.sample}",
        rows,
        headline("exports that answered as the run does", passed, len(rows), "all that were made"),
        packages=("torch", "mlx", "mlx-lm", "transformers", "peft", "gguf"),
        directory=arguments.out,
    )
    print(path)


def export_one(label: str, run: Path, target: Path, sample: int) -> dict[str, Any]:
    """Size, seconds and verification of one export, or why it was refused."""
    name, options = FORMATS[label]
    began = time.perf_counter()
    try:
        made = export_run(run, name, target, options, CheckOptions(sample, ""))
    except SumkitError as error:
        return {"export": label, "failed": str(error)}
    found = made.verification
    return {
        "export": label,
        "bytes": made.bytes,
        "seconds": round(time.perf_counter() - began, 1),
        "notes": list(made.notes),
        "lines": list(found.lines()) if found else [],
        "verification": found.as_dict() if found else None,
    }


if __name__ == "__main__":
    main()
