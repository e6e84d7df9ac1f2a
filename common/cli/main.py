"""The `sumkit` command: a group that imports a subcommand only when it is asked for.

Owns how errors become exit statuses: 0 success, 1 an expected failure in plain lines, 2 wrong usage, 130 and 143
after a signal. Knows nothing of what the commands do.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Sequence

import click

from common.cli.verbosity import add_verbosity
from common.errors import SumkitError
from common.nearest import nearest
from common.process.threads import let_waiting_threads_sleep
from common.progress import settle_libraries
from common.safe_text import visible
from common.version import VERSION

# Commands in the order of the journey.
JOURNEY: dict[str, dict[str, str]] = {
    "Before training": {
        "doctor": "Check whether this machine can train, and how to fix it if not.",
        "data": "Look at a data set: lengths, duplicates, leaks, what would be cut.",
        "prompts": "Show the prompt templates filled in.",
        "plan": "Estimate memory, disk and time of a run.",
        "budget": "What a compute budget buys, in parameters and tokens.",
    },
    "Train": {
        "train": "Fine-tune a model into a summarizer.",
        "align": "Make a run's summaries shorter and more faithful, by preference.",
        "sweep": "Train under many settings and name the best.",
    },
    "Judge": {
        "eval": "Score a run against the untuned model and simple baselines.",
        "compare": "Compare runs side by side, with paired tests.",
        "score": "Score any system's summaries against references.",
        "check": "Check summaries against their documents.",
        "report": "Write a run's report.",
    },
    "Use": {
        "summarize": "Summarize files, folders or standard input.",
        "serve": "Serve a local page and an API to summarize with.",
        "export": "Convert a run: PEFT, MLX, merged, GGUF, Ollama, a Space.",
    },
    "More": {
        "demo": "The whole journey on the embedded corpus.",
        "recipes": "Published write-ups as settings, with the results they reported.",
    },
}
COMMANDS: dict[str, str] = {name: text for commands in JOURNEY.values() for name, text in commands.items()}


class LazyGroup(click.Group):
    """Lists commands without importing them, and names the nearest one for a mistyped name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"common.cli.{cmd_name}").command
        return add_verbosity(command)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = nearest(args[0], COMMANDS)
            hint = f" Did you mean {near}?" if near else f" Commands: {', '.join(COMMANDS)}."
            raise click.UsageError(f"No such command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, COMMANDS))
        for title, commands in JOURNEY.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), text) for name, text in commands.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(VERSION, prog_name="sumkit")
def group() -> None:
    """Fine-tune a small language model into your own summarizer, on the machine you already have.

    \b
    Examples:
      sumkit demo                                    the whole journey in minutes
      sumkit train --data notes/ --model qwen2.5-0.5b
      sumkit eval runs/NAME --data test.jsonl
      sumkit budget --flops 1e18

    \b
    Shell completion (bash; zsh_source and fish_source for the others):
      eval "$(_SUMKIT_COMPLETE=bash_source sumkit)"
    """


add_verbosity(group)


def run(command: click.Command, arguments: Sequence[str] | None = None, prog_name: str = "sumkit") -> int:
    """Run a click command and return the exit status; expected failures are printed without a traceback."""
    settle_libraries()
    let_waiting_threads_sleep()
    color = False if os.environ.get("NO_COLOR") else None  # None: colours on a terminal only
    try:
        given = list(arguments) if arguments is not None else None
        status = command.main(given, prog_name, standalone_mode=False, color=color)
        return status if isinstance(status, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except SumkitError as error:
        click.echo(f"sumkit: {visible(str(error))}", err=True)
        return error.exit_code
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("sumkit: interrupted", err=True)
        return 130
    except BrokenPipeError:
        # The reader of stdout went away (`sumkit … | head`): end quietly, and keep Python from flushing again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.filename is None:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
                raise
            click.echo(f"sumkit: the output cannot be written ({os.strerror(error.errno)})", err=True)
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        click.echo(
            f"sumkit: {error.filename}: {error.strerror}; check the path, its permissions and the disk", err=True
        )
        return 1


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run(group))


def run_train(engine: str) -> None:
    """Entry point of `python -m mlx_sum.train` and `python -m cuda_sum.train`: `sumkit train` on a fixed engine."""
    from common.cli.train import command_for

    package = {"mlx": "mlx_sum", "cuda": "cuda_sum"}[engine]
    sys.exit(run(add_verbosity(command_for(engine)), prog_name=f"python -m {package}.train"))


if __name__ == "__main__":
    main()
