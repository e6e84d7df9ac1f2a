"""`sumkit serve`: a page to summarize with in the browser, and an API for other programs."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from common.cli.completion import COMPLETIONS

if TYPE_CHECKING:
    from common.serve.worker import Served, Worker


@click.command("serve")
@click.option("--run", "runs", multiple=True, type=click.Path(path_type=Path), metavar="DIR",
              help="Run directory; give two or more to compare them.")  # fmt: skip
@click.option("--model", default="qwen2.5-0.5b", show_default=True, shell_complete=COMPLETIONS["model"],
              help="Untuned model, where no --run is given.")  # fmt: skip
@click.option("--untuned/--no-untuned", default=True, help="With one --run: also offer its base model, untuned.")
@click.option("--host", default="127.0.0.1", show_default=True,
              help="Address to listen on; any but this machine's own needs a token.")  # fmt: skip
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Port (0: any free one).")
@click.option("--token", default="", envvar="SUMKIT_TOKEN", show_envvar=True,
              help="API key that clients must send [default: none here, a new one for other addresses].")  # fmt: skip
@click.option("--ratings", type=click.Path(path_type=Path), metavar="FILE",
              help="Where ratings are kept [default: ratings.jsonl in the first run].")  # fmt: skip
@click.option("--waiting", type=click.IntRange(min=1), default=64, show_default=True,
              help="Requests that may wait; further ones hear that the server is busy.")  # fmt: skip
@click.option("--request-seconds", type=click.FloatRange(min=1), default=180, show_default=True,
              help="Most time for a request, waiting included.")  # fmt: skip
@click.option("--body-mb", type=click.IntRange(min=1), default=20, show_default=True, help="Largest request in MB.")
@click.option("--engine", type=click.Choice(["auto", "mlx", "cuda"]), default="auto", show_default=True,
              help="Which engine summarizes.")  # fmt: skip
@click.option("--open", "open_page", is_flag=True, help="Open the page in the web browser.")
def command(
    runs: tuple[Path, ...],
    model: str,
    untuned: bool,
    host: str,
    port: int,
    token: str,
    ratings: Path | None,
    waiting: int,
    request_seconds: float,
    body_mb: int,
    engine: str,
    open_page: bool,
) -> None:
    """Serve a run: a page to paste or drop a document, compare two models and rate them; an OpenAI-compatible API.

    Only this machine can reach it unless --host says otherwise. Ctrl-C lets running requests end.

    \b
    Examples:
      sumkit serve --run runs/notes --open
      sumkit serve --run runs/notes --run runs/longer
      sumkit serve --run runs/notes --host 0.0.0.0 --port 9000
      curl localhost:8000/api/summarize -d '{"text": "A long text ..."}'
    """
    _need_extra()
    from common.serve.limits import Limits
    from common.serve.run import Address, listen, needed_token, serve

    if ratings is not None:
        _check_writable(ratings)
    limits = Limits(waiting=waiting, request_seconds=request_seconds, body_bytes=body_mb << 20)
    listener = listen(host, port)
    address = Address(host, listener.getsockname()[1], needed_token(host, token))

    def load() -> dict[str, Served]:
        from common.serve.served import load_runs, load_zero_shot

        return load_runs(runs, engine, untuned) if runs else load_zero_shot(model, engine)

    kept = ratings or (runs[0] if runs else Path()) / "ratings.jsonl"
    serve(load, listener, address, kept, lambda worker: _announce(worker, address, kept, open_page), limits)
    click.echo("stopped", err=True)


def _need_extra() -> None:
    from common.errors import EngineError

    missing = [name for name in ("starlette", "uvicorn") if importlib.util.find_spec(name) is None]
    if missing:
        raise EngineError(f"serving needs {' and '.join(missing)}: pip install 'sumkit[ui]'")


def _check_writable(path: Path) -> None:
    """Raise UsageError where ratings could not be kept, before anybody gives one."""
    from common.errors import UsageError

    there = next(part for part in (path, *path.absolute().parents) if part.exists())
    if path.is_dir() or (there != path and not there.is_dir()) or not os.access(there, os.W_OK):
        raise UsageError(f"--ratings {path}: no file can be written there; give another path")


def _announce(worker: Worker, address: Any, ratings: Path, open_page: bool) -> None:
    click.echo(f"page: {address.url}", err=True)
    click.echo(f"API:  {address.url.partition('#')[0]}v1  (models: {', '.join(worker.models)})", err=True)
    if address.token:
        click.echo(f"API key: {address.token}", err=True)
    click.echo(f"ratings go to {ratings}; Ctrl-C stops", err=True)
    if open_page:
        import webbrowser

        webbrowser.open(address.url)
