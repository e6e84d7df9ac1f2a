"""Where the commands of the pages run: a folder like a clone's, with a newcomer's files, and no network.

Hub models that a page names are there as a download would have left them, in the client's own cache; what stands
under their names is a tiny model of the same architecture, since the real ones cannot be had without a network.
Output that is printed in a page never comes from them, but from the real smollm2-135m or from commands that load no
model.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from common.model.models import cache_directory
from tests.docs.console import Command, run
from tests.docs.gated_hub import gated_hub
from tests.documents.make_files import pdf_bytes
from tests.tiny_models import build_tiny_model, build_tiny_tokenizer

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))))
CLOSED_PORT = "http://127.0.0.1:9"
STAND_INS = {"Qwen/Qwen2.5-0.5B": "qwen2", "microsoft/phi-2": "phi"}


def clone(directory: Path) -> Path:
    """A folder that looks like a clone and can be written to: the tree's entries are links."""
    directory.mkdir(parents=True)
    for name in ("common", "mlx_sum", "cuda_sum", "benchmarks", "docs", "tests", "scripts"):
        (directory / name).symlink_to(ROOT / name)
    write_newcomers_files(directory)
    return directory


def environment(home: Path, with_models: bool, hub: str = CLOSED_PORT) -> Mapping[str, str]:
    """The environment of the commands: this Python and sumkit first, own caches, a Hub that does not answer.

    Only commands that load a model see the stand-ins; for the others a named model is not downloaded yet.
    """
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(home),
        "HF_HOME": str(home / ("huggingface" if with_models else "nothing-downloaded")),
        "HF_ENDPOINT": hub,
        "SUMKIT_CACHE": str(cache_directory()),
        "LANG": "C.UTF-8",
        "COLUMNS": "100",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(os.cpu_count())),
    }


def run_in(command: Command, directory: Path, home: Path) -> tuple[int, list[str]]:
    """Run a page's command in the clone at `directory`, with the Hub that its marks ask for."""
    if command.gated:
        with gated_hub() as hub:
            return run(command, directory, environment(home, command.slow, hub))
    return run(command, directory, environment(home, command.slow))


def put_hub_models(home: Path) -> None:
    """Lay the stand-ins into the Hub client's cache below `home`."""
    for hub_id, architecture in STAND_INS.items():
        repository = home / "huggingface" / "hub" / f"models--{hub_id.replace('/', '--')}"
        snapshot = repository / "snapshots" / ("0" * 40)
        snapshot.mkdir(parents=True)
        build_tiny_model(snapshot, architecture)
        build_tiny_tokenizer(snapshot)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text("0" * 40, encoding="utf-8")


def write_newcomers_files(directory: Path) -> None:
    """The files that pages use: a table with other column names, a broken one, a settings file with mistakes."""
    lines = (ROOT / "common" / "corpus" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines[:40]]
    _table(directory / "letters.csv", ("letter", "gist"), [(row["document"], row["summary"]) for row in rows])
    _table(directory / "swapped.csv", ("document", "summary"), [(row["summary"], row["document"]) for row in rows])
    _table(directory / "two.csv", ("document", "summary"), [(row["document"], row["summary"]) for row in rows[:2]])
    broken = [line[:60] if number == 5 else line for number, line in enumerate(lines[:20], 1)]
    (directory / "broken.jsonl").write_text("\n".join(broken) + "\n", encoding="utf-8")
    (directory / "my.yaml").write_text("training:\n  learning_rat: 5e-4\n  epochs: three\n", encoding="utf-8")
    (directory / "scan.pdf").write_bytes(pdf_bytes([[], []]))
    (directory / "report.txt").write_text(rows[0]["document"], encoding="utf-8")


def _table(path: Path, columns: tuple[str, str], rows: list[tuple[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
