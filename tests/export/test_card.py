"""The model card as the Hub's own library reads it, and what it must never hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from common.config import read_config, write_yaml
from common.export.export import export_run
from common.run.contents import read_run
from tests.export.conftest import MakeRun

pytest.importorskip("torch")


def interval(mean: float) -> dict[str, float]:
    return {"mean": mean, "low": mean - 1.5, "high": mean + 1.5}


def evaluate(run: Path, unsupported: float = 0.25) -> None:
    """Results as `sumkit eval` writes them, with figures made up for this test."""
    scores = {"rouge1": interval(31.2), "rouge2": interval(12.0), "rougeL": interval(25.5), "rougeLsum": interval(25.6)}
    results = {
        "run": str(run),
        "engine": "cuda",
        "split": "test",
        "examples": 40,
        "systems": {
            "tuned": {**scores, "unsupported_claims": unsupported},
            "base": {name: interval(20.0) for name in scores},
            "lead3": {name: interval(22.0) for name in scores},
        },
        "differences": {
            "tuned-base": {"rouge1": interval(11.2)},
            "tuned-lead3": {"rouge1": interval(9.2)},
        },
        "stop_reasons": {"tuned": {"eos": 38, "length": 2, "error": 0}},
    }
    (run / "results.json").write_text(json.dumps(results), encoding="utf-8")


def rename(run: Path, **settings: Any) -> None:
    """Settings of the run as they would be with another model name or data set (its files stay where they are)."""
    config = read_config(run / "config.yaml")
    from dataclasses import replace

    data = replace(config.data, data=settings.get("data", config.data.data))
    write_yaml(replace(config, data=data), run / "config.yaml")


@pytest.fixture(scope="module")
def run(make_run: MakeRun) -> Path:
    made = make_run("llama", quantize="4bit")
    evaluate(made)
    return made


def test_the_hub_reads_scores_base_and_tags_from_the_card(run: Path) -> None:
    made = export_run(run, "peft", overwrite=True)
    card = ModelCard.load(made.path / "README.md")
    data = card.data.to_dict()
    assert data["library_name"] == "peft"
    assert data["base_model_relation"] == "adapter"
    assert {"summarization", "sumkit"} <= set(data["tags"])
    assert card.data.eval_results is not None
    found = {result.metric_name: (result.metric_value, result.dataset_split) for result in card.data.eval_results}
    assert found == {
        "ROUGE-1": (31.2, "test"), "ROUGE-2": (12.0, "test"), "ROUGE-L": (25.5, "test"), "ROUGE-Lsum": (25.6, "test"),
    }  # fmt: skip
    assert "base_model" not in data  # a model of this machine is not a page of the Hub
    assert data["license"] == "other"


def test_the_card_states_scores_with_intervals_limits_and_licences(run: Path) -> None:
    text = (export_run(run, "peft", overwrite=True).path / "README.md").read_text(encoding="utf-8")
    assert "**Higher ROUGE-1 than the untuned model" in text
    assert "31.2 [29.7, 32.7]" in text
    assert "95 % intervals over 40 test documents" in text
    assert "In evaluation 2 of 40 summaries reached the length limit." in text
    assert "a summary held 0.25 unsupported numbers or names on average" in text
    assert "It was **not checked** after it was written." in text
    assert "Training data: Apache-2.0." in text
    assert "Summarize the following text.\n\n{document}\n\nSummary:" in text


def test_a_run_that_was_not_evaluated_says_so(make_run: MakeRun) -> None:
    text = (export_run(make_run("qwen2"), "peft").path / "README.md").read_text(encoding="utf-8")
    assert "Not evaluated: the run has no results.json." in text


def test_no_path_of_this_machine_and_no_name_of_private_data_is_written(run: Path, tmp_path: Path) -> None:
    private = tmp_path / "secret-project"
    private.mkdir()
    rename(run, data=str(private))
    try:
        made = export_run(run, "merged", overwrite=True)
    finally:
        rename(run, data="demo")
    for path in made.path.rglob("*"):
        if path.suffix in (".md", ".json"):
            text = path.read_text(encoding="utf-8")
            assert "secret-project" not in text
            assert str(run.parents[1]) not in text
    card = (made.path / "README.md").read_text(encoding="utf-8")
    assert "own data, not published" in card
    assert "not known to sumkit; check before you pass the model on" in card


def test_a_space_has_the_settings_a_space_needs(run: Path) -> None:
    pytest.importorskip("cyllama")
    made = export_run(run, "space")
    front = yaml.safe_load((made.path / "README.md").read_text(encoding="utf-8").split("---")[1])
    assert front["sdk"] == "gradio"
    assert front["app_file"] == "app.py"
    assert (made.path / front["app_file"]).is_file()
    assert front["license"] == "other"


def test_the_card_of_a_known_base_names_it_with_its_licence(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    from common.export import card, source
    from common.model import presets

    run = make_run("qwen2")
    known = presets.PRESETS["qwen2.5-0.5b"]
    monkeypatch.setattr(source, "find_preset", lambda name: known)
    monkeypatch.setattr(card, "find_preset", lambda name: known)
    made = export_run(run, "peft")
    data = ModelCard.load(made.path / "README.md").data.to_dict()
    assert data["base_model"] in ("Qwen/Qwen2.5-0.5B", ["Qwen/Qwen2.5-0.5B"])
    assert data["license"] == "apache-2.0"
    config = json.loads((made.path / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["base_model_name_or_path"] == "Qwen/Qwen2.5-0.5B"
    assert read_run(run).name == "notes"


def test_the_code_on_the_card_names_what_it_loads(run: Path, tmp_path: Path) -> None:
    """The folder, as one stands beside it, or the repository that it is made for; never the run."""
    local = (export_run(run, "peft", tmp_path / "mine").path / "README.md").read_text(encoding="utf-8")
    assert "In the directory that holds the folder `mine`:" in local
    assert 'PeftModel.from_pretrained(base, "mine")' in local.replace("'", '"')
    pushed = export_run(run, "peft", tmp_path / "theirs", repository="me/summarizer").path / "README.md"
    text = pushed.read_text(encoding="utf-8").replace("'", '"')
    assert 'PeftModel.from_pretrained(base, "me/summarizer")' in text
    assert "In the directory" not in text
