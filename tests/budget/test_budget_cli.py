"""`sumkit budget` as a person and a script meet it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from common.budget.chinchilla import estimate
from common.cli.budget import command
from common.cli.main import group, run


def invoke(*arguments):
    result = CliRunner().invoke(command, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def test_the_table_has_units_every_approach_and_the_convention():
    said = invoke("--flops", "1e18").stdout
    assert "9.2e7 params (91.6 M)" in said
    assert "1.8e9 tokens (1.82 B)" in said
    assert "C = 6 N D" in said
    assert "3-replication" in said
    assert "Spread between approaches: params 80.5 M to 95.5 M" in said
    assert "arXiv 2402.17193" in said


def test_json_is_one_document_with_the_agreed_keys():
    answer = json.loads(invoke("--flops", "1e21", "--json").stdout)
    assert answer["flops"] == 1e21
    assert [row["approach"] for row in answer["estimates"]] == ["1", "2", "3", "3-replication"]
    first, third = answer["estimates"][0], answer["estimates"][2]
    assert first["loss"] is None
    assert third["params"] == estimate("3", 1e21).params
    assert third["tokens_per_param"] == third["tokens"] / third["params"]


def test_a_size_alone_gives_each_approach_its_own_budget():
    answer = json.loads(invoke("--params", "0.5B", "--json").stdout)
    assert answer["flops"] is None
    assert all(row["params"] == pytest.approx(5e8) for row in answer["estimates"])
    assert len({row["flops"] for row in answer["estimates"]}) == 4


def test_two_amounts_are_compared_with_the_optimum():
    said = invoke("--params", "0.5B", "--tokens", "1e9")
    assert "times too large" in said.stdout
    answer = json.loads(invoke("--params", "0.5B", "--tokens", "1e9", "--json").stdout)
    assert answer["model"]["flops"] == 3e18
    assert {row["approach"] for row in answer["model"]["comparisons"]} == {"1", "2", "3", "3-replication"}


def test_the_plot_is_a_picture_and_its_path_goes_to_stderr(tmp_path):
    target = tmp_path / "budget.png"
    result = invoke("--flops", "1e19", "--params", "1e9", "--plot", str(target), "--json")
    assert target.read_bytes().startswith(b"\x89PNG")
    assert str(target) in result.stderr
    json.loads(result.stdout)


def test_fine_tuning_a_preset_on_the_embedded_corpus_needs_no_download():
    answer = json.loads(invoke("--model", "qwen2.5-0.5b", "--data", "demo", "--epochs", "2", "--json").stdout)[
        "finetune"
    ]
    assert answer["lengths"] == "estimated from words"
    assert answer["flops_per_run"] == 2 * answer["flops_per_epoch"]["total"]
    assert 0.4 < answer["share_of_full_finetune"] < 0.8
    per_token = answer["flops_per_token"]
    assert per_token["total"] == pytest.approx(sum(value for part, value in per_token.items() if part != "total"))


def test_a_curve_file_is_projected_to_twice_ten_times_and_any_other_size(tmp_path):
    sizes = [100 * 2**k for k in range(7)]
    rows = "".join(f"{n},{5 * n**-0.3 + 1:.5f}\n" for n in sizes)
    path = tmp_path / "losses.csv"
    path.write_text("examples,loss\n" + rows, encoding="utf-8")
    said = invoke("--curve", str(path)).stdout
    assert "More examples should help" in said
    answer = json.loads(invoke("--curve", str(path), "--up-to", "1600", "--at", "6400", "--json").stdout)["curves"][0]
    assert answer["sizes"] == [100, 200, 400, 800, 1600]
    assert answer["projections"][0]["loss"] == pytest.approx(5 * 6400**-0.3 + 1, rel=0.03)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--flops", "-1"], 2, "--flops '-1' is not a positive finite number"),
        (["--flops", "nan"], 2, "'nan'"),
        (["--flops", "abc"], 2, "'abc'"),
        (["--flops", "inf"], 2, "'inf'"),
        (["--flops", "0"], 2, "'0'"),
        (["--flops", "1e300"], 2, "no estimate can speak of"),
        (["--flops", "1e18", "--params", "1e9", "--tokens", "1e9"], 2, "3 of --flops, --params and --tokens"),
        ([], 2, "nothing asked"),
        (["--plot", "x.png"], 2, "--plot needs a budget"),
        (["--data", "demo"], 2, "need --model"),
        (["--at", "100"], 2, "need --curve"),
        (["--model", "no-such-model"], 1, "is not a preset, Hub id (owner/name) or directory"),
        (["--model", "phi-2", "--target-modules", "nope"], 1, "nope"),
        (["--curve", "nowhere.csv"], 1, "nowhere.csv does not exist"),
    ],
)
def test_impossible_input_ends_with_one_clear_line(arguments, status, message, capsys):
    assert run(group, ["budget", *arguments]) == status
    said = capsys.readouterr()
    assert said.out == ""
    assert message in said.err
    assert len(said.err.strip().splitlines()) == 1


def test_the_command_imports_nothing_heavy():
    code = (
        "import sys; from common.cli.main import group, run; run(group, ['budget', '--flops', '1e18']);"
        "heavy = 'numpy', 'torch', 'mlx', 'transformers', 'matplotlib', 'pydantic', 'yaml';"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"
