"""Settings: one source for YAML, flags and help; every problem named."""

import pytest

from common import config
from common.cli.options import config_from
from common.errors import ConfigError
from common.settings import RunConfig


def test_flags_win_over_the_file_and_the_file_over_the_defaults(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("lora:\n  rank: 8\n  alpha: 4\n")
    resolved = config_from({"rank": 32, "epochs": None}, file)
    assert (resolved.lora.rank, resolved.lora.alpha, resolved.training.epochs) == (32, 4.0, 1.0)


def test_epochs_as_a_flag_take_back_the_steps_of_a_file_which_would_win(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("training:\n  steps: 300\n")
    steps = [config_from(flags, file).training.steps for flags in ({}, {"epochs": 2.0}, {"epochs": 2.0, "steps": 5})]
    assert steps == [300, 0, 5]


def test_the_resolved_settings_survive_their_file(tmp_path):
    resolved = config.resolve({"data": {"data": "näh/…"}, "training": {"learning_rate": 3e-4}})
    config.write_yaml(resolved, tmp_path / "c.yaml")
    assert config.read_config(tmp_path / "c.yaml") == resolved


def test_flag_names_are_unique_over_all_groups():
    flags = [info.flag for info in config.all_settings()]
    assert len(flags) == len(set(flags))
    assert all(info.help for info in config.all_settings())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lora": {"rnak": 8}}, "lora.rnak is not a setting; did you mean lora.rank"),
        ({"rank": 8}, "rank is not a setting; did you mean lora.rank"),
        ({"traning": {"epochs": 2}}, "did you mean training"),
        ({"training": {"rank": 8}}, "did you mean lora.rank"),
        ({"lora": 3}, "lora must be a mapping"),
        ({"lora": {"rank": 0}}, "lora.rank = 0"),
        ({"lora": {"rank": "many"}}, "lora.rank = 'many'"),
        ({"model": {"quantize": "3bit"}}, "model.quantize = '3bit'"),
        ({"training": {"learning_rate": -1}}, "training.learning_rate = -1"),
    ],
)
def test_a_wrong_setting_is_named_with_its_path(values, message):
    with pytest.raises(ConfigError, match=message.replace("[", r"\[")):
        config.resolve(values)


def test_all_problems_of_a_file_are_told_at_once():
    with pytest.raises(ConfigError) as caught:
        config.resolve({"lora": {"rank": 0, "alpha": "x"}, "training": {"epochs": -1}})
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize("text", ["lora: [", "- a\n- b", "{", "a: b: c", "\x00"])
def test_a_broken_file_is_named(tmp_path, text):
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"broken\.yaml"):
        config.load_yaml(path)


def test_defaults_are_valid_settings():
    assert config.resolve({}) == RunConfig()


def test_a_file_with_an_unknown_key_and_a_bad_value_is_told_both_at_once():
    with pytest.raises(ConfigError) as caught:
        config.resolve({"training": {"learning_rat": 1e-3, "epochs": "three"}, "lroa": {}}, "f.yaml")
    lines = str(caught.value).splitlines()
    assert lines[0] == "f.yaml: training.learning_rat is not a setting; did you mean training.learning_rate?"
    assert lines[1] == "f.yaml: lroa is not a setting; did you mean lora?"
    assert lines[2].startswith("f.yaml: training.epochs = 'three': ")
