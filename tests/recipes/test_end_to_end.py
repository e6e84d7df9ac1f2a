"""Each recipe from prompt to report on a tiny model of its architecture and its data set's own columns."""

import csv
import json
import os

import pytest
import yaml

from common.cli.main import group, run
from common.config import read_config
from common.model.adapter import count_trainable, read_adapter
from common.model.models import resolve_model
from common.model.tokenizer import load_tokenizer
from common.recipes.catalogue import recipe_settings
from common.run.preparation import lora_spec
from tests.recipes.write_ups import write_cnn_dailymail, write_finetome, write_oasst1, write_xsum
from tests.tiny_models import VOCAB_SIZE, build_tiny_model, build_tiny_tokenizer

# recipe, engine it names, architecture of its model, its data set's columns
CASES = [
    ("phi2-xsum-t4", "cuda", "phi", write_xsum),
    pytest.param("phi2-xsum-nf4", "cuda", "phi", write_xsum, marks=pytest.mark.slow),
    ("phi2-oasst1", "cuda", "phi", write_oasst1),
    pytest.param("llama32-finetome", "cuda", "llama", write_finetome, marks=pytest.mark.slow),
    ("qwen-cnndm-mlx", "mlx", "qwen2", write_cnn_dailymail),
]
SPARE = VOCAB_SIZE + 64  # rows that no token has yet, as in Phi-2 and Qwen2.5
NAMES = ["phi2-xsum-t4", "phi2-xsum-nf4", "phi2-oasst1", "llama32-finetome", "qwen-cnndm-mlx"]
# What a tiny model on a CPU needs otherwise: short texts, few steps, float32 where the recipe asks for a T4's float16.
SMALL = ["--max-length", "192", "--max-summary-tokens", "64", "--max-new-tokens", "8", "--dtype", "float32",
         "--learning-rate", "1e-2", "--warmup-steps", "0", "--duplicates", "keep", "--leaks", "keep",
         "--base-template", "same", "--save-every", "1"]  # fmt: skip


@pytest.mark.parametrize(("name", "engine", "architecture", "write_data"), CASES, ids=NAMES)
def test_a_recipe_runs_from_prompt_to_report(tmp_path, monkeypatch, capsys, name, engine, architecture, write_data):
    monkeypatch.setenv("SUMKIT_SUPERVISOR", str(os.getppid()))  # train in this process, without a child
    recipe = recipe_settings(name)
    chat = architecture == "llama"  # the recipe's model is an instruct model
    model = build_tiny_tokenizer(build_tiny_model(tmp_path / "model", architecture, vocab_size=SPARE), chat=chat)
    (tmp_path / "data").mkdir()
    data, directory = write_data(tmp_path / "data"), tmp_path / "run"

    template = recipe["prompt"]["template"]
    assert run(group, ["prompts", "--model", str(model), "--template", template]) == 0
    assert f"== {template}" in capsys.readouterr().out

    train = ["train", "--recipe", name, "--data", str(data), "--model", str(model), "--run", str(directory),
             "--engine", engine, *SMALL]  # fmt: skip
    assert run(group, [*train, "--steps", "2", "--no-final-eval"]) == 0, capsys.readouterr().err
    assert run(group, [*train, "--steps", "4", "--resume", "--generate-samples", "1", "--json"]) == 0
    said = capsys.readouterr()
    summary = json.loads(said.out.splitlines()[-1])
    rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    dev = [row["dev_loss"] for row in rows if "dev_loss" in row]
    assert dev[-1] < dev[0]

    stored = yaml.safe_load((directory / "config.yaml").read_text())
    for part, key in (("lora", "rank"), ("lora", "alpha"), ("prompt", "template"), ("model", "quantize")):
        assert stored[part][key] == recipe[part][key], (part, key)
    config = read_config(directory / "config.yaml")
    trained = sum(value.size for value in read_adapter(directory / "adapter").weights.values())
    tokenizer = load_tokenizer(model, config.lora.added_tokens)
    assert len(tokenizer.added_ids) == (2 if name == "phi2-oasst1" else 0)
    assert trained == count_trainable(resolve_model(str(model)).shape, lora_spec(config, tokenizer))

    results = summary["results"]
    assert results["engine"] == engine
    assert {"tuned", "base", "lead1", "lead3"} <= results["systems"].keys()
    assert results["stop_reasons"]["tuned"]["error"] == 0
    assert summary["compute"]["flops"] > 0
    assert len(summary["compute"]["optimal"]) == 4
    with (directory / "predictions.csv").open(newline="", encoding="utf-8") as file:
        predictions = list(csv.DictReader(file))
    assert len(predictions) == results["examples"] >= 3
    assert summary["samples"][0]["reference"] == predictions[0]["reference"]
    assert (directory / "report.html").stat().st_size > 10_000

    (directory / "results.json").unlink()
    assert run(group, ["train", "--run", str(directory), "--eval-only"]) == 0
    assert "ROUGE-1" in capsys.readouterr().out
    again = json.loads((directory / "results.json").read_text())
    assert again["systems"]["tuned"]["rouge1"] == results["systems"]["tuned"]["rouge1"]
    assert len((directory / "metrics.jsonl").read_text().splitlines()) == 4  # no step was taken


def test_the_oasst1_recipe_previews_its_own_held_out_prompts_and_mixes_in_concise_examples(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("SUMKIT_SUPERVISOR", str(os.getppid()))
    model = build_tiny_tokenizer(build_tiny_model(tmp_path / "model", "phi", vocab_size=SPARE))
    (tmp_path / "data").mkdir()
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("What did the council say about the bridge?\nWhy is the release late?\n")
    arguments = ["train", "--recipe", "phi2-oasst1", "--data", str(write_oasst1(tmp_path / "data")), "--model",
                 str(model), "--run", str(tmp_path / "run"), "--engine", "cuda", *SMALL, "--steps", "2",
                 "--preview-every", "1", "--preview-prompts", str(prompts), "--no-final-eval",
                 "--concise-share", "0.5", "--concise-words", "10"]  # fmt: skip
    assert run(group, arguments) == 0
    previews = [json.loads(line) for line in (tmp_path / "run" / "previews.jsonl").read_text().splitlines()]
    assert [(row["step"], row["preview"]) for row in previews] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert "50 % of them with a summary of at most 10 words" in capsys.readouterr().err


def test_eval_only_without_a_run_is_wrong_usage(capsys):
    assert run(group, ["train", "--data", "demo", "--eval-only"]) == 2
    assert "--run DIR" in capsys.readouterr().err
