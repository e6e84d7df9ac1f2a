"""`sumkit demo` around the journey: summaries before, commands after, on a tiny model in place of the demo's own."""

import json

from click.testing import CliRunner

from common.cli.demo import command
from common.corpus import demo


def test_the_demo_shows_summaries_then_scores_then_what_to_type_next(tmp_path, tiny_config, monkeypatch):
    monkeypatch.setenv("SUMKIT_SUPERVISOR", "1")  # in this process
    run = tmp_path / "demo"
    settings = tiny_config(run, engine="cuda", steps=1, quantize="none", base_template="same", test_limit=3)
    monkeypatch.setattr(demo, "demo_config", lambda run, engine: settings)
    first = CliRunner().invoke(command, ["--run", str(run)], standalone_mode=False)
    assert first.exception is None, first.output
    places = [first.stdout.index(part) for part in ("--- row-2", "fine-tuned: ", "run directory:", "Next:")]
    assert places == sorted(places)
    assert first.stdout.count("run directory:") == 1
    again = CliRunner().invoke(command, ["--run", str(run), "--json"], standalone_mode=False)
    assert json.loads(again.stdout)["trained_now"] is False
