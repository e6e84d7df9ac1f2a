"""Write docs/cli.md and docs/settings.md from the code: `python scripts/write_docs.py`.

A test calls `pages` and compares; run this after changing a command or a setting.
"""

from __future__ import annotations

import typing
from pathlib import Path

import click

from common.cli.main import COMMANDS, group
from common.config import all_settings

DOCS = Path(__file__).resolve().parents[1] / "docs"
WIDTH = 100


def pages() -> dict[str, str]:
    """The generated pages by file name."""
    return {"cli.md": _commands_page(), "settings.md": _settings_page()}


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
        text = f"{info.help}{listed}".replace("|", "\\|").replace("<", "&lt;")
        parts.append(f"| `{info.path}` | `{info.flag}` | {default} | {text} |")
    return "\n".join(parts) + "\n"


def main() -> None:
    """Write every page."""
    for name, text in pages().items():
        (DOCS / name).write_text(text, encoding="utf-8")
        print(f"docs/{name}")


if __name__ == "__main__":
    main()
