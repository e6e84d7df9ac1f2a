"""NaN and infinities stop a run before they are saved, with what is needed to look into it."""

import json

import pytest

from common.errors import NonFiniteError
from common.run.checkpoint import find_checkpoint
from common.run.directory import RunDirectory
from common.train.training import train_run
from tests.journey.conftest import ENGINES


@pytest.mark.parametrize("engine", ENGINES)
def test_a_run_that_explodes_stops_keeps_good_checkpoints_and_names_the_examples(tmp_path, tiny_config, engine):
    run = tmp_path / "run"
    settings = {"learning_rate": 1e30, "warmup_steps": 1, "save_every": 1, "eval_every": 100, "quantize": "none"}
    with pytest.raises(NonFiniteError, match=r"^step \d+: .*nonfinite\.json.*lower --learning-rate") as caught:
        train_run(tiny_config(run, **settings), run, resume=False, requested_engine=engine)
    assert "--resume would meet the same step again" in str(caught.value)
    record = json.loads((run / "nonfinite.json").read_text())
    assert record["ids"]
    assert all(name.startswith("row-") for name in record["ids"])
    found, problems = find_checkpoint(run / "checkpoints")
    assert not problems
    assert found is not None
    assert found.state.step == record["step"] - 1
    assert not (run / "finished.json").exists()
    assert [row["step"] for row in RunDirectory(run).read_metrics()] == list(range(1, record["step"]))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_dev_loss_that_is_not_a_number_is_no_traceback_and_is_not_saved(tmp_path, tiny_config, engine):
    run = tmp_path / "run"
    settings = {"learning_rate": 1e30, "warmup_steps": 1, "save_every": 1, "eval_every": 1, "quantize": "none"}
    with pytest.raises(NonFiniteError, match=r"the dev loss after step \d+ is (nan|inf)"):
        train_run(tiny_config(run, **settings), run, resume=False, requested_engine=engine)
    record = json.loads((run / "nonfinite.json").read_text())
    found, _ = find_checkpoint(run / "checkpoints")
    assert (found.state.step if found else 0) == record["step"] - 1
