"""The Colab notebook: clean as committed, and executed start to end on this machine's CPU."""

import json
import re
from pathlib import Path

import pytest

from tests.docs.place import ROOT, environment, put_hub_models

NOTEBOOK = ROOT / "notebooks" / "colab_t4.ipynb"
LONGEST_CELL = 15
# What a test changes: a short run, and pip that only says what it would install (test_package.py really installs).
SHORT = "--steps 2 --test-limit 2 --limit-dev 2 --max-length 320 --max-new-tokens 8 --base-template same"


def test_the_notebook_is_committed_without_outputs_and_in_small_cells():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    for cell in (cell for cell in cells if cell["cell_type"] == "code"):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None
        assert len("".join(cell["source"]).splitlines()) <= LONGEST_CELL
    headings = [
        line for cell in cells if cell["cell_type"] == "markdown" for line in "".join(cell["source"]).splitlines()
    ]
    assert {"## Install", "## Drive", "## Resume"} <= set(headings)


def test_the_resume_cell_needs_only_the_cells_that_the_notebook_names():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells]
    resume = sources[sources.index(next(text for text in sources if text.startswith("## Resume"))) + 1]
    used = set(re.findall(r"\{(\w+)", resume))
    before = sources[: next(index for index, text in enumerate(sources) if text.startswith("## Doctor"))]
    set_before = set(re.findall(r"^ *(\w+) = ", "\n".join(before), re.MULTILINE))
    assert used == {"RUN"}
    assert used <= set_before


def set_line(notebook, name: str, value: str) -> None:
    """Replace the one line `NAME = "…"` of a notebook."""
    pattern = re.compile(rf'^{name} = ".*"$', re.MULTILINE)
    found = [cell for cell in notebook.cells if cell.cell_type == "code" and pattern.search(cell.source)]
    assert len(found) == 1, name
    found[0].source = pattern.sub(f'{name} = "{value}"', found[0].source)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["qwen2.5-0.5b", "phi-2"])
def test_the_notebook_runs_from_start_to_end(tmp_path, monkeypatch, model):
    """With a tiny model under the chosen one's name, as everywhere in the tests of the pages."""
    import nbformat
    from nbclient import NotebookClient

    put_hub_models(tmp_path)
    for name, value in environment(tmp_path, with_models=True).items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    set_line(notebook, "SUMKIT", f"--dry-run --no-deps {ROOT}")
    set_line(notebook, "MODEL", model)
    set_line(notebook, "EXTRA", SHORT)
    work = tmp_path / "work"
    work.mkdir()
    NotebookClient(notebook, timeout=1200, resources={"metadata": {"path": str(work)}}).execute()

    printed = "\n".join(
        output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ()) if output
    )
    assert "Traceback" not in printed
    assert "sumkit: " not in printed, printed
    run = Path(work / "sumkit-runs" / f"{model}-demo")
    assert (run / "report.html").is_file()
    assert (run / "adapter" / "adapter_model.safetensors").is_file()
    assert json.loads((run / "results.json").read_text(encoding="utf-8"))["examples"] == 2
    assert "is finished; nothing to do" in printed  # what the resume cell says after a run that was not interrupted
    assert "This machine can train." in printed
    assert (work / "my-summarizer.zip").is_file()
