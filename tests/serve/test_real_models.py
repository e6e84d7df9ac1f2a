"""Served runs say what they say in Python, on either engine, and the command ends when it is told to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from common.errors import ConfigError
from common.serve.served import load_runs, load_zero_shot, model_names
from common.summarize.summarizer import Summarizer
from tests.serve.conftest import Start
from tests.tiny_runs import build_tiny_base, build_tiny_run

TEXT = "The council voted on Monday to close the old bridge for repairs until spring."


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    return build_tiny_run(folder / "tuned", build_tiny_base(folder / "base"))


def summary(url: str, model: str, **wishes: object) -> dict[str, object]:
    reply = httpx.post(f"{url}/api/summarize", json={"text": TEXT, "model": model, **wishes}, timeout=120)
    assert reply.status_code == 200, reply.text
    answer: dict[str, object] = reply.json()
    return answer


@pytest.mark.parametrize("engine", ["cuda", "mlx"])
def test_a_run_and_its_untuned_base_are_served_as_they_are_in_python(start: Start, run: Path, engine: str) -> None:
    server = start(lambda: load_runs([run], engine))
    assert server.worker.models == ("tuned", "tuned-untuned")
    tuned = Summarizer.load(run, engine=engine)
    untuned = Summarizer("untuned", tuned.engine, tuned.prompt_format, tuned.spec, adapted=False)
    for name, summarizer in (("tuned", tuned), ("tuned-untuned", untuned), ("tuned", tuned)):
        expected = summarizer.summarize(TEXT)
        answer = summary(server.url, name)
        assert (answer["summary"], answer["tokens"], answer["stop_reason"]) == (
            expected.text,
            expected.tokens,
            expected.stop_reason,
        )
    assert summary(server.url, "tuned")["summary"] != summary(server.url, "tuned-untuned")["summary"]


def test_sampling_is_repeatable_by_its_seed(start: Start, run: Path) -> None:
    server = start(lambda: load_runs([run], "cuda", untuned=False))
    texts = [summary(server.url, "tuned", temperature=1.5, seed=seed)["summary"] for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_the_untuned_model_gets_the_template_that_did_best_for_it(run: Path) -> None:
    (run / "results.json").write_text(json.dumps({"base_template": "prefix"}))
    try:
        models = load_runs([run], "cuda")
    finally:
        (run / "results.json").unlink()
    templates = {name: model.prompt_format.template.name for name, model in models.items()}  # type: ignore[attr-defined]
    assert templates == {"tuned": "direct", "tuned-untuned": "prefix"}


def test_models_are_named_so_that_they_can_be_told_apart(run: Path) -> None:
    assert model_names(["runs/a", "runs/b"]) == ["a", "b"]
    assert model_names(["one/a", "two/a"]) == ["one/a", "two/a"]
    with pytest.raises(ConfigError, match="the same run is given twice"):
        model_names(["runs/a", "./runs/a"])
    assert list(load_zero_shot(str(run.parent / "base"), "cuda", "none")) == [str(run.parent / "base")]


@pytest.fixture
def command(run: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`sumkit serve` as a process, and its URL."""
    call = [
        sys.executable,
        "-c",
        "from common.cli.main import main; main()",
        "serve",
        "--port",
        "0",
        "--engine",
        "cuda",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([*call, "--run", str(run)], stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stderr is not None
    line = next(line for line in process.stderr if line.startswith("page: "))
    yield process, line.split()[1].rstrip("/")
    if process.poll() is None:
        process.kill()
        process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_running_request_is_finished_before_the_server_stops(
    command: tuple[subprocess.Popen[str], str], number: signal.Signals
) -> None:
    process, url = command
    question = {"model": "tuned", "stream": True, "messages": [{"role": "user", "content": TEXT}]}
    with httpx.stream("POST", f"{url}/v1/chat/completions", json=question, timeout=120) as reply:
        lines = reply.iter_lines()
        next(line for line in lines if '"content"' in line)
        process.send_signal(number)
        rest = [line for line in lines if line]
    assert rest[-1] == "data: [DONE]"
    assert process.wait(timeout=60) == 0
    assert process.stderr is not None
    assert process.stderr.read().splitlines()[-1] == "stopped"
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/health")
