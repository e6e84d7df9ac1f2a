"""The generated pages are those that the code generates now, and the README's commands exist."""

import re
import runpy
from pathlib import Path

import pytest

from common.cli.main import COMMANDS
from common.cli.train import command_for

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["cli.md", "settings.md"])
def test_generated_pages_have_not_drifted(name):
    pages = runpy.run_path(str(ROOT / "scripts" / "write_docs.py"))["pages"]()
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == pages[name], "run: python scripts/write_docs.py"


def test_every_command_and_train_flag_that_the_readme_shows_exists():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"sumkit ([a-z]+)", text))
    assert {"data", "train", "summarize", "budget"} <= shown
    assert shown <= set(COMMANDS)
    flags = {option for parameter in command_for(None).params for option in parameter.opts}
    for line in re.findall(r"sumkit train[^\n`]*", text):
        assert set(re.findall(r"--[a-z-]+", line)) <= flags, line


def test_figures_of_the_readme_are_those_of_the_committed_result():
    import json

    result = json.loads((ROOT / "benchmarks/results/demo.json").read_text(encoding="utf-8"))
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for system in ("tuned", "base", "lead1", "lead3"):
        row = next(row for row in result["rows"] if row.get("system") == system)
        for measure in ("rouge1", "rouge2", "rougeL"):
            score = row[measure]
            cell = f"{score['mean']:.1f}"
            interval = f"[{score['low']:.1f}, {score['high']:.1f}]"
            assert cell in text, (system, measure, cell)
            assert interval in text, (system, measure, interval)
