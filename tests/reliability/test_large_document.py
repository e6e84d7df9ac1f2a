"""One document of 50 MB among small ones: it is cut, said so, and the run goes on."""

import json
import re
import subprocess
import sys

import pytest

from common.run.directory import RunDirectory
from tests.journey.conftest import rows

SENTENCE = "The council closed the old bridge on Monday because the deck had cracked in the storm. "


@pytest.mark.slow
def test_a_document_of_50_megabytes_is_cut_and_the_run_goes_on(tmp_path, tiny_model):
    large = {"id": "large", "document": SENTENCE * (50_000_000 // len(SENTENCE)), "summary": "A bridge was closed."}
    for name, part in (("train", [*rows(12), large]), ("dev", rows(2, offset=50))):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part), encoding="utf-8")
    flags = ["--data", tmp_path, "--model", tiny_model, "--run", tmp_path / "run", "--steps", 2, "--max-length", 192,
             "--batch-size", 8, "--quantize", "none", "--no-final-eval"]  # fmt: skip
    command = [sys.executable, "-m", "cuda_sum.train", *map(str, flags)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"1 document was cut, \d{8} tokens in all", done.stderr), done.stderr
    assert RunDirectory(tmp_path / "run").finished_marker.is_file()
    assert sum(row["target_tokens"] for row in RunDirectory(tmp_path / "run").read_metrics()) > 0
