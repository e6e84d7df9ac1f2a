"""Write what the code and the committed results say into the docs: `python scripts/write_docs.py`.

Whole pages: docs/cli.md, docs/settings.md, docs/benchmarks.md. Parts of README.md and of pages, between
`<!-- generated: NAME -->` and `<!-- end of generated -->`. A test calls `pages` and compares; run this after changing a
command, a setting, the planner or a result.
"""

from __future__ import annotations

import re
import sys
import typing
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.tables import (  # noqa: E402
    alignment_table,
    all_results,
    exports_table,
    headline_table,
    limits_table,
    methods_table,
    prompts_table,
    recipes_table,
    runs_table,
    scores_table,
)
from common.budget.planner import Plan, make_plan  # noqa: E402
from common.cli.main import COMMANDS, group  # noqa: E402
from common.cli.options import ALL, config_from  # noqa: E402
from common.config import all_settings  # noqa: E402

WIDTH = 100
FIT_MODELS = ("smollm2-135m", "qwen2.5-0.5b", "llama-3.2-1b", "llama-3.2-3b", "phi-2", "mistral-7b", "gemma-7b")
FIT_DEVICES = {"m1-8gb": "8 GB Mac", "m1-16gb": "16 GB Mac", "m3-36gb": "36 GB Mac", "t4": "T4 (Colab)"}
FIT_LETTERS = {"--micro-batch-tokens": "m", "--generation-batch-tokens": "g", "--gradient-checkpointing": "c"}
GENERATED = re.compile(r"(<!-- generated: (?P<name>[a-z ]+) -->\n).*?(<!-- end of generated -->)", re.DOTALL)


def pages() -> dict[str, str]:
    """The text of every generated page, and of every page with generated parts, by path below the root."""
    found = {
        "docs/cli.md": _commands_page(),
        "docs/settings.md": _settings_page(),
        "docs/benchmarks.md": _benchmarks_page(),
    }
    results = all_results()
    parts = {
        "what fits": _what_fits,
        "demo scores": lambda: scores_table(results["demo"]),
        "recorded runs": lambda: runs_table(results),
        "recipe runs": lambda: recipes_table(results),
        "long documents": lambda: methods_table(results.get("long_documents"), "method"),
        "ensembles": lambda: methods_table(results.get("ensembles"), "system"),
        "exports": lambda: exports_table(results.get("exports")),
        "prompt comparison": lambda: prompts_table(results.get("prompt_comparison")),
        "alignment": lambda: alignment_table(results),
    }
    for name in ("README.md", "docs/model-and-budget.md", "docs/recipes.md", "docs/use.md", "docs/align.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        found[name] = GENERATED.sub(lambda match: f"{match[1]}\n{parts[match['name']]()}\n\n{match[3]}", text)
    return found


def _what_fits() -> str:
    """Peak memory of default training runs on common machines, with what it takes where the defaults do not fit."""
    lines = [f"| model | {' | '.join(FIT_DEVICES.values())} |", f"|---|{'---|' * len(FIT_DEVICES)}"]
    for model in FIT_MODELS:
        cells = [_fit(make_plan(config_from({"model": model}), device, False)) for device in FIT_DEVICES]
        lines.append(f"| {model} | {' | '.join(cells)} |")
    legend = (
        "m: with a smaller `--micro-batch-tokens`, the same result somewhat slower; g: with a smaller\n"
        "`--generation-batch-tokens`, evaluation somewhat slower; c: with `--gradient-checkpointing`, steps take\n"
        "half as long again; –: does not fit. A Mac lets its GPU use two thirds of the memory, three quarters\n"
        "from 36 GB on. When memory still runs out, `sumkit train` continues with half the micro-batch."
    )
    return "\n".join([*lines, "", legend])


def _fit(plan: Plan) -> str:
    """Gibibytes at the peak; a letter for each change that is needed; a dash where only another model would fit."""
    if plan.fits:
        return f"{plan.memory.total_bytes / 2**30:.1f}"
    letters = []
    for change in plan.changes:
        flag = change.flags.split()[0]
        if flag == "--model":
            return "–"
        letters.append(FIT_LETTERS.get(flag, flag))
        if change.fits:
            return f"{change.total_bytes / 2**30:.1f} ({', '.join(letters)})"
    return "–"


def _commands_page() -> str:
    parts = ["# Commands\n\nGenerated from the code by `python scripts/write_docs.py`.\n"]
    names = ["-h", "--help"]
    parent = click.Context(
        group, info_name="sumkit", terminal_width=WIDTH, max_content_width=WIDTH, help_option_names=names
    )
    parts.append(f"```\n{group.get_help(parent).rstrip()}\n```\n")
    for name in COMMANDS:
        command = group.get_command(parent, name)
        assert command is not None
        context = click.Context(command, parent, name, terminal_width=WIDTH, max_content_width=WIDTH)
        context.meta[ALL] = True
        parts.append(f"## sumkit {name}\n\n```\n{command.get_help(context).rstrip()}\n```\n")
    return "\n".join(parts)


def _settings_page() -> str:
    parts = [
        "# Settings\n\nGenerated from the code by `python scripts/write_docs.py`. Each is a key of a YAML file "
        "(`--config`), under its group, and a flag.\n"
    ]
    group_name = ""
    for info in all_settings():
        if info.group != group_name:
            group_name = info.group
            parts.append(f"\n## {group_name}\n\n| key | flag | default | what it does |\n|---|---|---|---|")
        choices = typing.get_args(info.annotation) if typing.get_origin(info.annotation) is typing.Literal else ()
        listed = f" One of {', '.join(choices)}." if choices else ""
        default = "" if info.default == "" else f"`{info.default}`"
        zero = f" 0: {info.zero}." if info.zero else ""
        text = f"{info.help}{listed}{zero}".replace("|", "\\|").replace("<", "&lt;")
        parts.append(f"| `{info.path}` | `{info.flag}` | {default} | {text} |")
    return "\n".join(parts) + "\n"


def _benchmarks_page() -> str:
    results = all_results()
    return (
        "# Measured\n\nGenerated from the files in `benchmarks/results` by `python scripts/write_docs.py`. Each file "
        "also holds the command, the commit, the versions and every row; `benchmarks/` holds the programs.\n\n"
        f"## Fine-tunes\n\nROUGE-1, in percent, with 95 % intervals.\n\n{runs_table(results)}\n\n"
        f"## Compared\n\nA ratio above 1 means that ours is better.\n\n{headline_table(results)}\n\n"
        f"## Limits\n\nResults that are held to a limit.\n\n{limits_table(results)}\n"
    )


def main() -> None:
    """Write every page."""
    for name, text in pages().items():
        (ROOT / name).write_text(text, encoding="utf-8")
        print(name)


if __name__ == "__main__":
    main()
