"""`sumkit demo`: from nothing to a scored summarizer on the embedded corpus."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("demo")
@click.option("--run", type=click.Path(path_type=Path), default=Path("runs/demo"), show_default=True,
              help="Run directory; a finished one is reused.")  # fmt: skip
@click.option("--engine", type=click.Choice(["auto", "mlx", "cuda"]), default="auto", show_default=True,
              help="Which engine trains.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the results as one JSON document.")
def command(run: Path, engine: str, as_json: bool) -> int:
    """Fine-tune SmolLM2-135M on the embedded corpus and score it against the untuned model and simple baselines.

    \b
    Examples:
      sumkit demo
      sumkit demo --run runs/demo-mlx --engine mlx
    """
    from common.corpus.demo import demo_config
    from common.journey import launch

    return launch(demo_config(run, engine), resume=True, style="json" if as_json else "demo")
