"""`sumkit export`: a run in the form that other programs use, checked against the run before it counts as done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

FORMATS = ("peft", "mlx", "merged", "mlx-4bit", "gguf", "ollama", "space")


@click.command("export")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--to", "name", type=click.Choice(FORMATS), required=True, help="What to make of the run (see above).")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write [default: RUN/export/FORMAT].")
@click.option("--gguf-type", type=click.Choice(["f16", "q8_0", "q4_k_m"]), default="q4_k_m", show_default=True,
              help="How matrices are stored in a GGUF file (gguf, ollama, space).")  # fmt: skip
@click.option("--dtype", type=click.Choice(["auto", "float32", "float16", "bfloat16"]), default="auto",
              show_default=True, help="Type of merged weights; auto: the base's own 16-bit type.")  # fmt: skip
@click.option("--base-values", type=click.Choice(["trained", "original"]), default="trained", show_default=True,
              help="Merge into the base's values as quantized in training, or into its unquantized ones.")  # fmt: skip
@click.option("--documents", default="", help="Check on the documents of this file instead of the run's own.")
@click.option("--sample", type=click.IntRange(min=1), default=8, show_default=True,
              help="How many documents to check on.")  # fmt: skip
@click.option("--verify/--no-verify", default=True, help="Run the export and compare it with the run.")
@click.option("--push", metavar="OWNER/NAME", default="", help="Then upload it to this Hub repository.")
@click.option("--private", is_flag=True, help="Make the Hub repository private.")
@click.option("--engine", type=click.Choice(["auto", "mlx", "cuda"]), default="auto", show_default=True,
              help="Engine to run the run with; auto: the one it was trained on.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace the folder if it is there.")
@click.option("--json", "as_json", is_flag=True, help="Print what was made and measured as one JSON document.")
def command(
    run: Path,
    name: str,
    out: Path | None,
    gguf_type: Any,
    dtype: Any,
    base_values: Any,
    documents: str,
    sample: int,
    verify: bool,
    push: str,
    private: bool,
    engine: str,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Export a run for other programs; each export is run and compared with the run before it is kept.

    \b
    peft      adapter for transformers and PEFT
    mlx       adapter for mlx_lm.generate --adapter-path
    merged    base and adapter in one 16-bit model directory
    mlx-4bit  the same, quantized for MLX
    gguf      one file for llama.cpp
    ollama    GGUF file and Modelfile
    space     folder that is a Hugging Face Space on a free CPU

    \b
    Examples:
      sumkit export runs/notes --to gguf
      sumkit export runs/notes --to gguf --gguf-type f16 --out notes-gguf/
      sumkit export runs/notes --to merged --dtype bfloat16
      sumkit export runs/notes --to space --push me/notes-summarizer --private
    """
    from common.errors import UsageError
    from common.export.export import CheckOptions, export_run
    from common.export.source import ExportOptions

    if push and not verify:
        raise UsageError("--push uploads only what was checked; leave out --no-verify")
    options = ExportOptions(gguf_type, dtype, base_values)
    check = CheckOptions(sample, documents) if verify else None
    made = export_run(run, name, out, options, check, engine, overwrite, push or "")
    result = made.as_dict()
    if push:
        from common.export.push import push_folder

        result["pushed"] = push_folder(made.path, push, "space" if name == "space" else "model", private)
    if as_json:
        click.echo(json.dumps(result))
        return
    click.echo(f"{made.path}: {len(made.files)} files, {made.bytes / 1e6:.1f} MB")
    for line in made.notes:
        click.echo(f"  {line}")
    if made.verification:
        click.echo("verified:")
        for line in made.verification.lines():
            click.echo(f"  {line}")
    else:
        click.echo("not verified (--no-verify)")
    if push:
        click.echo(f"pushed to {result['pushed']}")
