"""`sumkit summarize`: files, folders or standard input through a run, an ensemble of runs, or an untuned model."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from click.core import ParameterSource

from common.cli.completion import COMPLETIONS

if TYPE_CHECKING:
    from common.summarize.ensemble import VotingSummarizer
    from common.summarize.summarizer import Summarizer
    from common.summarize.summary_output import Format


@click.command("summarize")
@click.argument("files", nargs=-1)
@click.option("--run", "runs", multiple=True, type=click.Path(path_type=Path), metavar="DIR",
              help="Run directory; several with --ensemble.")  # fmt: skip
@click.option("--model", default="qwen2.5-0.5b", show_default=True, shell_complete=COMPLETIONS["model"],
              help="Untuned model, where no --run is given.")  # fmt: skip
@click.option("--ensemble", type=click.Choice(["vote", "average"]),
              help="vote: the summary nearest to the others' (3 runs or more); average: mean weights.")  # fmt: skip
@click.option("--long", "method", type=click.Choice(["truncate", "map-reduce", "two-stage"]), default=None,
              help="Documents beyond the prompt: cut, summarized in parts, or reduced to key sentences "
                   "[default: two-stage].")  # fmt: skip
@click.option("--sentences", type=click.IntRange(min=0), default=0, help="Keep at most this many sentences (0: all).")
@click.option("--max-words", type=click.IntRange(min=0), default=0,
              help="Keep at most this many words (0: all); told to the model too if its template can.")  # fmt: skip
@click.option("--max-new-tokens", type=click.IntRange(min=0), default=0, help="Most tokens (0: the run's own).")
@click.option("--evidence", is_flag=True,
              help="Show how far the document supports each sentence, and the passages that it rests on.")  # fmt: skip
@click.option("--faithful", is_flag=True,
              help="Write four summaries of each document and give the best supported, without sentences that the "
                   "document does not support; about four times as slow.")  # fmt: skip
@click.option("--style", "--template", "style", metavar="TEMPLATE", default=None,
              help="Prompt template in place of the run's own: a name (see sumkit prompts) or YAML file.")  # fmt: skip
@click.option("--quantize", type=click.Choice(["4bit", "8bit", "none"]), default="4bit", show_default=True,
              help="Of an untuned --model.")  # fmt: skip
@click.option("--engine", type=click.Choice(["auto", "mlx", "cuda"]), default="auto", show_default=True,
              help="Which engine summarizes.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.option("--jsonl", "as_jsonl", is_flag=True, help="One JSON object a line, as each summary is done.")
@click.option("--csv", "as_csv", is_flag=True, help="One row a document.")
@click.pass_context
def command(
    context: click.Context,
    files: tuple[str, ...],
    runs: tuple[Path, ...],
    model: str,
    ensemble: Literal["vote", "average"] | None,
    method: Any,
    sentences: int,
    max_words: int,
    max_new_tokens: int,
    evidence: bool,
    faithful: bool,
    style: str | None,
    quantize: Any,
    engine: str,
    as_json: bool,
    as_jsonl: bool,
    as_csv: bool,
) -> None:
    """Summarize text, Markdown, HTML, PDF and Word files, folders of them, or standard input (-).

    A file that cannot be read is named and the rest go on; the exit status is 1 then.

    \b
    Examples:
      sumkit summarize --run runs/notes report.pdf
      sumkit summarize --run runs/notes letters/ --csv > summaries.csv
      sumkit summarize --run runs/notes --faithful --evidence report.pdf
      cat mail.txt | sumkit summarize --run runs/notes -
      sumkit summarize --run runs/a --run runs/b --run runs/c --ensemble vote report.pdf
      sumkit summarize --model smollm2-135m report.pdf
    """
    from common.summarize.faithful import SAMPLES
    from common.summarize.summarize_files import summarize_files
    from common.summarize.summary import DEFAULT_LONG, SummaryOptions

    if len(runs) > 1 and not ensemble:
        raise click.UsageError("several --run need --ensemble vote or average (or see sumkit compare, sumkit serve)")
    for name in ("model", "quantize"):
        if runs and context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise click.UsageError(f"--{name} is for a summary without --run; a run has its own")
    forms: dict[Format, bool] = {"json": as_json, "jsonl": as_jsonl, "csv": as_csv}
    asked: list[Format] = [form for form, wanted in forms.items() if wanted]
    if len(asked) > 1:
        raise click.UsageError(f"--{asked[0]} and --{asked[1]} exclude each other")
    if ensemble == "vote" and (evidence or faithful):
        raise click.UsageError("--evidence and --faithful are for one model; leave out --ensemble vote")
    options = SummaryOptions(
        method or DEFAULT_LONG, sentences, max_words, max_new_tokens, evidence=evidence, faithful=SAMPLES * faithful
    )

    def load() -> Summarizer | VotingSummarizer:
        return load_model(runs, model, ensemble, engine, style, quantize)

    arguments = files or _standard_input()
    summarize_files(arguments, load, options, (*asked, "text")[0], lambda text: click.echo(text, nl=False))


def _standard_input() -> tuple[str, ...]:
    if sys.stdin.isatty():
        raise click.UsageError("give files or folders to summarize, or - to type a text (end it with Ctrl-D)")
    return ("-",)


def load_model(
    runs: Sequence[Path], model: str, ensemble: Any, engine: str, style: str | None, quantize: Any
) -> Summarizer | VotingSummarizer:
    """What the flags ask for: an ensemble, a run, or an untuned model, which is said."""
    from common.progress import note
    from common.summarize.ensemble import load_ensemble
    from common.summarize.summarizer import Summarizer

    if ensemble:
        return load_ensemble(runs, ensemble, engine, style)
    if runs:
        return Summarizer.load(runs[0], engine=engine, template=style)
    note(f"no --run: {model} as it is, without training (zero-shot); sumkit train makes it yours")
    return Summarizer.load(model=model, engine=engine, template=style, quantize=quantize)
