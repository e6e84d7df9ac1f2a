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
    from common.cli.worker import launch
    from common.corpus.demo import before_and_after, demo_config, next_commands
    from common.order import Order
    from common.process.rank import process_rank

    order = Order(demo_config(run, engine), resume=True, prints="json" if as_json else "nothing")
    status = launch(order)
    if status == 0 and not as_json and process_rank() == 0:
        from common.journey import stored_outcome

        click.echo(f"{before_and_after(run)}\n\n{stored_outcome(run).text}\n\n{next_commands(run)}")
    return status
