"""`sumkit plan` as a person and a script meet it."""

from __future__ import annotations

import json

import pytest

from common.cli.main import group, run

TOO_LARGE = ("--model", "phi-2", "--data", "demo", "--device", "t4", "--batch-size", "32")


def planned(capsys, *arguments):
    assert run(group, ["plan", *arguments]) == 0
    return capsys.readouterr().out


def test_a_run_that_fits_says_so_first_with_the_margin(capsys):
    said = planned(capsys, "--model", "qwen2.5-0.5b", "--data", "demo", "--device", "a100-40")
    assert said.splitlines()[0].startswith("qwen2.5-0.5b on NVIDIA A100, 40 GB: fits, ")
    for part in (
        "base weights",
        "adapter gradients",
        "optimizer moments",
        "activations",
        "key/value cache",
        "overhead",
    ):
        assert part in said
    assert "not measured" in said.replace("\n", " ")


def test_a_run_that_does_not_fit_lists_changes_with_what_they_cost(capsys):
    said = planned(capsys, *TOO_LARGE, "--micro-batch-tokens", "16384")
    assert "does not fit" in said.splitlines()[0]
    assert "--micro-batch-tokens" in said
    assert "the same result, somewhat slower" in said


def test_a_mac_counts_the_share_of_its_memory_that_the_gpu_may_use(capsys):
    said = planned(capsys, "--model", "smollm2-135m", "--device", "m1-8gb")
    assert "5.33 GiB that training may use (the device has 8.00 GiB)" in said


def test_json_is_one_document_that_a_script_can_decide_by(capsys):
    answer = json.loads(planned(capsys, *TOO_LARGE, "--micro-batch-tokens", "8192", "--json"))
    assert answer["fits"] is False
    assert answer["margin_bytes"] < 0
    assert answer["changes"][-1]["fits"] is True
    parts = answer["memory_bytes"]
    assert parts["total"] == parts["allocated"] + parts["overhead"]
    assert answer["time"]["seconds"] >= answer["time"]["seconds_per_epoch"]


def test_trains_flags_change_the_plan(capsys):
    def total(*flags):
        said = planned(capsys, "--model", "qwen2.5-0.5b", "--data", "demo", "--device", "t4", "--json", *flags)
        return json.loads(said)["memory_bytes"]["training"]

    assert total("--gradient-checkpointing") < total()
    assert total("--rank", "64") > total()
    assert total("--quantize", "none") > total()


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--device", "abacus"], 2, "device 'abacus' is unknown"),
        (["--model", "no-such-model"], 1, "is not a preset"),
        (["--engine", "mlx", "--device", "t4"], 2, "does not run on"),
        (["--measure", "--device", "t4"], 2, "cannot measure"),
        (["--data", "nowhere.csv"], 1, "nowhere.csv"),
        (["--target-modules", "lm_head"], 1, "refused"),
    ],
)
def test_impossible_input_ends_without_a_traceback(arguments, status, message, capsys):
    assert run(group, ["plan", *arguments]) == status
    said = capsys.readouterr()
    assert said.out == ""
    assert message in said.err
    assert "Traceback" not in said.err
