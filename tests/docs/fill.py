"""Fill in what a page's commands print: `python -m tests.docs.fill README.md` (from the root; `--slow` for all).

Runs the page's commands in order and replaces every output that is the single line `?` by what was printed. For a
maintainer who writes a page; the tests then hold the page to it.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.docs.console import commands
from tests.docs.place import ROOT, clone, put_hub_models, run_in


def main(name: str, slow: bool) -> None:
    """Fill one page in place; without `slow`, commands that train or load a model are left alone."""
    page = ROOT / name
    lines = page.read_text(encoding="utf-8").splitlines()
    filled: list[tuple[int, list[str]]] = []
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        put_hub_models(home)
        directory = clone(home / "sumkit")
        for command in commands(page):
            if command.slow and not slow:
                continue
            status, printed = run_in(command, directory, home)
            print(f"{name}:{command.line}: exit {status}, {len(printed)} lines: {command.text}", file=sys.stderr)
            if bool(status) is not command.fails:
                print("\n".join(printed), file=sys.stderr)
            if command.expected == ("?",):
                filled.append((command.line - 1 + len(command.text.splitlines()), printed))
    for index, printed in reversed(filled):
        assert lines[index].strip() == "?", lines[index]
        lines[index : index + 1] = printed
    page.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], "--slow" in sys.argv)
