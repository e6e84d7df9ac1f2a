"""Every recipe is valid settings, says what it reproduces, and can be overridden."""

import pytest

from common.cli.options import config_from
from common.config import resolve
from common.data.prompts import find_template
from common.errors import ConfigError
from common.model.adapter import count_trainable
from common.model.presets import preset_shape
from common.recipes.catalogue import all_recipes, recipe_settings
from common.run.preparation import lora_spec

NAMES = {"phi2-xsum-t4", "phi2-xsum-nf4", "phi2-oasst1", "llama32-finetome", "qwen-cnndm-mlx"}


def test_the_five_write_ups_are_there():
    assert set(all_recipes()) == NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_recipe_resolves_and_flags_win_over_it(name):
    recipe = all_recipes()[name]
    assert recipe.reproduces
    assert recipe.differs
    config = resolve(recipe.settings)
    assert preset_shape(config.model.model) is not None
    assert find_template(config.prompt.template)
    assert config_from({"rank": 3}, recipe=name).lora.rank == 3
    assert config_from({}, recipe=name) == config


def test_the_trainable_parameters_of_the_phi_2_recipes_are_the_true_counts():
    def count(name):
        config = resolve(recipe_settings(name))
        return count_trainable(preset_shape("phi-2"), lora_spec(config))

    assert count("phi2-xsum-t4") == 10_485_760
    assert count("phi2-xsum-nf4") == 23_592_960


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean phi2-xsum-t4"):
        recipe_settings("phi2-xsum-t5")
