"""The journey from Python: `import sumkit`."""

import json

import pytest

import sumkit
from common import config
from tests.journey.conftest import ENGINES


@pytest.mark.parametrize("engine", ENGINES)
def test_a_run_is_planned_trained_scored_and_used_from_python(tmp_path, tiny_model, tiny_data, engine):
    settings = {
        "data": str(tiny_data), "model": str(tiny_model), "engine": engine, "run": str(tmp_path / "run"), "steps": 2,
        "max_length": 192, "max_new_tokens": 8, "base_template": "same", "batch_size": 4,
    }  # fmt: skip
    plan = sumkit.plan(**settings)
    assert plan.fits
    assert plan.shape.total_steps == 2

    trained = sumkit.train(**settings)
    assert (trained["run"], trained["steps"]) == (str(tmp_path / "run"), 2)
    assert trained["results"]["engine"] == engine
    assert (tmp_path / "run" / "report.html").is_file()
    assert config.read_config(tmp_path / "run" / "config.yaml").training.steps == 2
    assert not sumkit.train(**settings, resume=True)["trained_now"]

    scored = sumkit.evaluate(trained["run"], limit=3, base=False, engine=engine, out=tmp_path / "scores")
    assert scored == json.loads((tmp_path / "scores" / "results.json").read_text())
    assert scored["examples"] == 3
    assert "base" not in scored["systems"]
    assert (tmp_path / "scores" / "report.html").is_file()
    assert trained["results"] == json.loads((tmp_path / "run" / "results.json").read_text())  # left as it was

    summary = sumkit.Summarizer.load(trained["run"], engine=engine).summarize("The council met the team on Monday.")
    assert summary.stop_reason in ("eos", "length")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rat": 1e-3}, "learning_rat is not a setting; did you mean learning_rate?"),
        ({"epochs": "three"}, "settings: training.epochs = 'three': input should be a valid number"),
        ({"rank": 0}, "settings: lora.rank = 0: input should be greater than or equal to 1"),
        ({"recipe": "phi2-xsum-t5"}, "recipe 'phi2-xsum-t5' is unknown; did you mean phi2-xsum-t4?"),
    ],
)
@pytest.mark.parametrize("function", [sumkit.plan, sumkit.train])
def test_a_setting_that_cannot_be_used_is_named(function, settings, message):
    with pytest.raises(sumkit.SumkitError) as error:
        function(**settings)
    assert str(error.value).startswith(message)


def test_the_module_is_the_command_too():
    import subprocess
    import sys

    asked = subprocess.run([sys.executable, "-m", "sumkit", "--version"], capture_output=True, text=True, check=False)
    assert asked.stdout == f"sumkit, version {sumkit.__version__}\n", asked.stderr
