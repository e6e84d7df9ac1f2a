"""The command line as people meet it: exit statuses, hints, and one JSON document on stdout."""

import json
import re
import subprocess
import sys

import pytest

from common.cli.main import COMMANDS, group, run
from common.cli.options import ELSEWHERE, FIRST, LATER, NumberOrWord, config_from
from common.cli.train import command_for
from common.config import all_settings


def call(capsys, *arguments: str) -> tuple[int, str, str]:
    status = run(group, list(arguments))
    out, err = capsys.readouterr()
    return status, out, err


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help_with_examples(capsys, name):
    status, out, _ = call(capsys, name, "--help")
    assert status == 0
    assert "Example" in out
    assert f"sumkit {name}" in out


def test_a_mistyped_command_or_flag_exits_2_and_names_the_nearest(capsys):
    status, _, err = call(capsys, "tran")
    assert status == 2
    assert "Did you mean train?" in err
    status, _, err = call(capsys, "train", "--epohcs", "3")
    assert status == 2
    assert "--epochs" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train"], "--data"),
        (["train", "--data", "nowhere/at-all.jsonl"], "no such file"),
        (["train", "--data", "demo", "--model", "no-such-model"], "not a preset"),
        (["train", "--data", "demo", "--model", "./no-such-directory"], "no such directory"),
        (["train", "--data", "demo", "--rank", "0"], "--rank 0: input should be greater than or equal to 1"),
        (["train", "--data", "demo", "--learning-rate", "inf"], "--learning-rate inf: must be a finite number"),
        (["train", "--data", "demo", "--engine", "mlx", "--beams", "4"], "the mlx engine has no beam search"),
        (["plan", "--data", "demo", "--device", "m1-16gb", "--optimizer", "adamw-8bit"], "no optimizer 'adamw-8bit'"),
        (["train", "--data", "demo", "--config", "missing.yaml"], "missing.yaml"),
        (["eval", "no/such/run"], "not a run directory"),
        (["prompts", "--template", "nonsense"], "choose from"),
    ],
)
def test_an_expected_failure_exits_1_with_plain_lines(capfd, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    status = run(group, arguments)
    err = capfd.readouterr().err
    assert status == 1
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize("value", ["0.5x", "many"])
def test_a_value_of_the_wrong_type_exits_2(capsys, value):
    status, _, err = call(capsys, "train", "--data", "demo", "--rank", value)
    assert status == 2
    assert "not a valid integer" in err


def test_the_three_spellings_of_train_take_the_same_flags():
    def flags(engine):
        return {option for parameter in command_for(engine).params for option in parameter.opts}

    assert flags("mlx") == flags("cuda") == flags(None)


def test_the_flags_that_scripts_rely_on_exist():
    flags = {option for parameter in command_for(None).params for option in parameter.opts}
    promised = """--data --model --run --recipe --config --epochs --steps --learning-rate --rank --alpha --dropout
        --target-modules --quantize --max-length --max-new-tokens --template --limit-train --limit-dev --seed
        --save-every --eval-every --log-every --max-document-tokens --max-summary-tokens --resume --engine --json"""
    assert set(promised.split()) <= flags


@pytest.mark.parametrize("module", ["mlx_sum.train", "cuda_sum.train"])
def test_train_help_loads_neither_torch_nor_mlx(module):
    program = (
        f"import sys; sys.argv = ['x', '--help']; import runpy\n"
        f"try: runpy.run_module('{module}', run_name='__main__')\n"
        "except SystemExit as end: assert not end.code\n"
        "loaded = {m.split('.')[0] for m in sys.modules} & {'torch', 'mlx', 'transformers'}\n"
        "sys.exit(f'loaded {loaded}' if loaded else 0)"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert f"python -m {module}" in answer.stdout


def test_prompts_as_json_is_one_document(capsys):
    status, out, _ = call(capsys, "prompts", "--json")
    assert status == 0
    assert {row["name"] for row in json.loads(out)["templates"]} >= {"direct", "chat", "limit"}


SECTIONS = ("What to learn from", "Which model", "How much", "Evaluation", "Where to", "Options")


@pytest.mark.parametrize("asked", ["--help", "--help-all"])
def test_help_of_train_is_in_sections_as_a_person_decides(capsys, asked):
    status, out, _ = call(capsys, "train", asked)
    assert status == 0
    places = [out.index(f"\n{title}:\n") for title in SECTIONS]
    assert places == sorted(places)
    parts = dict(zip(SECTIONS, out[places[0] :].split("\n\n"), strict=False))
    assert "  --data TEXT " in parts["What to learn from"]
    assert "  --test-limit N|all " in parts["Evaluation"]
    assert "  --json " in parts["Where to"]
    assert "Preferences" not in out


def test_help_lists_what_matters_and_help_all_lists_every_setting(capsys):
    def flags(out):
        return set(re.findall(r"^  (?:-\w, )?(--[\w-]+)", out, re.MULTILINE))

    _, out, _ = call(capsys, "train", "--help")
    short = flags(out)
    assert len(short) <= 23  # 13 settings, and the options that every command has
    assert "more options: sumkit train --help-all" in out
    _, out, _ = call(capsys, "train", "--help-all")
    every = {info.flag for info in all_settings() if info.group != "align"}
    assert short < flags(out)
    assert every <= flags(out)
    assert "--help-all\n" not in out


def test_first_and_later_options_of_help_are_options_of_train():
    names = {parameter.name for parameter in command_for(None).params}
    assert names >= FIRST | LATER | ELSEWHERE.keys() - {"plots", "quiet", "verbose"}


def test_a_word_stands_for_0(capsys):
    _, out, _ = call(capsys, "train", "--help-all")
    assert "[default: all]" in out
    assert "(0:" not in out
    assert config_from({"limit_train": NumberOrWord(int, "all").convert("all", None, None)}).data.limit_train == 0


def test_a_word_that_stands_for_nothing_is_refused(capsys):
    status, _, err = call(capsys, "train", "--limit-train", "none")
    assert status == 2
    assert "'none' is neither a number nor all" in err


def test_commands_are_grouped_by_the_journey(capsys):
    _, out, _ = call(capsys, "--help")
    titles = ("Before training", "Train", "Judge", "Use", "More")
    places = [out.index(f"\n{title}:\n") for title in titles]
    assert places == sorted(places)
    assert [name for name in re.findall(r"^  ([a-z]+)  ", out, re.MULTILINE) if name in COMMANDS] == list(COMMANDS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_option_of_every_command_is_explained(name):
    import click

    command = group.get_command(None, name)
    context = click.Context(command)
    for parameter in command.get_params(context):
        if isinstance(parameter, click.Option):
            assert parameter.help, (name, parameter.opts)


def test_a_module_takes_its_own_engine_and_refuses_the_other(capsys):
    assert run(command_for("cuda"), ["-h"]) == 0
    assert "--engine" in capsys.readouterr().out
    assert run(command_for("cuda"), ["--engine", "mlx", "--data", "demo"]) == 2
    assert "python -m mlx_sum.train" in capsys.readouterr().err


def test_resuming_asks_which_run(capsys):
    status, _, err = call(capsys, "train", "--resume")
    assert status == 2
    assert "name it as --run DIR" in err
    status, _, err = call(capsys, "train", "--resume", "--run", "runs/none")
    assert status == 2
    assert "there is no run directory runs/none" in err


def test_a_settings_file_may_name_the_run_to_resume(capfd, tmp_path):
    (tmp_path / "c.yaml").write_text("data: {data: nowhere.jsonl}\noutput: {run: runs/mine}\n")
    status, _, err = call(capfd, "train", "--resume", "--config", str(tmp_path / "c.yaml"))
    assert status == 1
    assert "nowhere.jsonl" in err


def test_a_sweep_is_not_reported_as_a_run(capsys, tmp_path):
    (tmp_path / "sweep.yaml").write_text("trials: {}\n")
    (tmp_path / "results.json").write_text("{}")
    status, _, err = call(capsys, "report", str(tmp_path))
    assert status == 2
    assert "is a sweep" in err
    assert not (tmp_path / "report.html").exists()
