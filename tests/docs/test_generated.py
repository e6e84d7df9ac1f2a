"""The generated pages and parts are those that the code and the committed results make now."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from common.cli.main import COMMANDS
from common.cli.train import command_for

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def pages():
    """Made in a process of their own: click remembers in a command how its help option was first asked for."""
    code = "import json, runpy, sys; print(json.dumps(runpy.run_path(sys.argv[1])['pages']()))"
    script = str(ROOT / "scripts" / "write_docs.py")
    made = subprocess.run([sys.executable, "-c", code, script], cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(made.stdout)


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "docs/cli.md",
        "docs/settings.md",
        "docs/benchmarks.md",
        "docs/model-and-budget.md",
        "docs/recipes.md",
        "docs/use.md",
        "docs/align.md",
    ],
)
def test_generated_text_has_not_drifted(pages, name):
    assert (ROOT / name).read_text(encoding="utf-8") == pages[name], "run: python scripts/write_docs.py"


@pytest.mark.parametrize("page", ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))])
def test_every_command_and_flag_in_running_text_exists(page):
    """Commands in code spans; those in blocks are run."""
    spans = re.findall(r"`([^`\n]+)`", (ROOT / page).read_text(encoding="utf-8"))
    flags = {
        option for parameter in command_for(None).params for option in (*parameter.opts, *parameter.secondary_opts)
    }
    for span in spans:
        if found := re.match(r"sumkit ([a-z]+)", span):
            assert found[1] in COMMANDS, span
            if found[1] == "train":
                assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", span)) <= flags, span
