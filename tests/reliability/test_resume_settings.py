"""What may differ when a run is resumed, and what may not: refused changes leave the run as it was."""

import json

import pytest

from common.config import read_config
from common.errors import CheckpointError
from common.journey import train_and_evaluate
from common.order import Order
from common.run.directory import RunDirectory
from common.train.training import train_run


@pytest.fixture
def unfinished(tmp_path, tiny_config):
    run = tmp_path / "run"
    train_run(tiny_config(run, steps=2, quantize="none"), run, resume=False, requested_engine="cuda")
    (run / "finished.json").unlink()
    return run


def test_log_cadence_memory_and_more_steps_are_harmless(unfinished, tiny_config):
    changed = {"log_every": 4, "micro_batch_tokens": 256, "keep_checkpoints": 1, "steps": 8}
    config = tiny_config(unfinished, quantize="none", **changed)
    assert train_run(config, unfinished, resume=True, requested_engine="cuda").state.step == 8
    assert [row["step"] for row in RunDirectory(unfinished).read_metrics()] == [1, 2, 3, 4, 6, 8]
    assert read_config(unfinished / "config.yaml").output.log_every == 4


def test_another_engine_is_refused_and_the_run_stays_as_it_was(unfinished, tiny_config):
    before = (unfinished / "config.yaml").read_bytes()
    with pytest.raises(CheckpointError, match=r"output\.engine: 'cuda' before, 'mlx' now"):
        train_run(tiny_config(unfinished, steps=2, quantize="none"), unfinished, resume=True, requested_engine="mlx")
    assert (unfinished / "config.yaml").read_bytes() == before
    assert not (unfinished / "run.lock").exists()


def test_a_finished_run_goes_on_when_more_is_asked_for_and_is_scored_anew(tmp_path, tiny_config):
    run, whole = tmp_path / "run", tmp_path / "whole"
    settings = {"quantize": "none", "schedule": "constant", "warmup_steps": 1, "base_template": "same", "test_limit": 2}
    assert train_and_evaluate(Order(tiny_config(run, engine="cuda", steps=2, **settings))).exit_code == 0
    first = (run / "results.json").read_bytes()
    again = train_and_evaluate(Order(tiny_config(run, engine="cuda", steps=2, **settings), resume=True))
    assert not again.summary["trained_now"]
    assert (run / "results.json").read_bytes() == first
    more = train_and_evaluate(Order(tiny_config(run, engine="cuda", steps=4, **settings), resume=True))
    assert more.summary["trained_now"]
    assert more.summary["steps"] == 4
    train_run(tiny_config(whole, steps=4, **settings), whole, resume=False, requested_engine="cuda")
    for part in ("adapter/adapter_model.safetensors", "checkpoints/step-4/engine_cuda.safetensors"):
        assert (run / part).read_bytes() == (whole / part).read_bytes(), "a constant rate knows no total"


@pytest.mark.slow
def test_a_report_that_a_crash_prevented_is_written_by_resume(tmp_path, tiny_config):
    run = tmp_path / "run"
    config = tiny_config(run, engine="cuda", steps=2, quantize="none", base_template="same", test_limit=2)
    assert train_and_evaluate(Order(config)).exit_code == 0
    (run / "report.html").unlink()
    assert train_and_evaluate(Order(config, resume=True)).exit_code == 0
    assert (run / "report.html").is_file()


def test_previews_of_steps_that_are_made_again_are_not_there_twice(tmp_path, tiny_config, at_step):
    run = tmp_path / "run"
    settings = {"quantize": "none", "preview_every": 1, "preview_count": 1, "steps": 3, "save_every": 2}
    config = tiny_config(run, **settings)

    def crash():
        raise KeyboardInterrupt

    at_step(3, crash)
    with pytest.raises(KeyboardInterrupt):
        train_run(config, run, resume=False, requested_engine="cuda")
    (run / "previews.jsonl").open("a").write('{"step": 3, "preview": 1, "summary": "cut off')
    at_step(0, crash)
    train_run(config, run, resume=True, requested_engine="cuda")
    steps = [json.loads(line)["step"] for line in (run / "previews.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3]


def test_a_damaged_end_marker_is_named(tmp_path, tiny_config):
    run = tmp_path / "run"
    train_run(tiny_config(run, steps=2, quantize="none"), run, resume=False, requested_engine="cuda")
    (run / "finished.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"finished\.json: damaged.*delete it"):
        train_run(tiny_config(run, steps=2, quantize="none"), run, resume=True, requested_engine="cuda")


def test_a_retry_of_the_final_evaluation_has_its_smaller_batches(tmp_path, tiny_config, monkeypatch):
    import common.journey as journey
    from common.cli.worker import with_smaller_batches

    run, seen = tmp_path / "run", []
    config = tiny_config(run, engine="cuda", steps=2, quantize="none", generation_batch_tokens=4096)
    train_run(config, run, resume=False, requested_engine="cuda")

    def look(loaded, options):
        seen.append(loaded.config.generation.generation_batch_tokens)
        raise journey.NothingHeldOutError("seen enough")

    monkeypatch.setattr(journey, "evaluate_run", look)
    for retries in (0, 1):
        journey.train_and_evaluate(Order(with_smaller_batches(config, retries), resume=True))
    assert seen == [4096, 2048]
