"""What a sweep runs: combinations, draws, and refusals in plain words; and how many go on."""

import math

import pytest

from common.config import to_dict
from common.errors import ConfigError
from common.settings import RunConfig
from common.sweep.halving import rounds, total_share
from common.sweep.space import grid_trials, parse_varied, random_trials

BASE = to_dict(RunConfig())


def trials(*texts):
    return grid_trials([parse_varied(text) for text in texts], BASE)


def test_a_grid_is_every_combination_with_the_values_as_the_settings_take_them():
    made = trials("learning-rate=1e-4,5e-4", "--rank=16,32,64")
    assert [trial.flags for trial in made] == [
        {"learning_rate": rate, "rank": rank} for rate in (1e-4, 5e-4) for rank in (16, 32, 64)
    ]
    assert len({trial.name for trial in made}) == 6
    assert made[0].name == "01-learning-rate-0.0001-rank-16"
    assert made[0].label() == "learning_rate=0.0001, rank=16"


def test_values_that_hold_commas_are_listed_with_bars():
    made = trials("lora.target_modules=all-linear|q_proj,v_proj")
    assert [trial.flags["target_modules"] for trial in made] == ["all-linear", "q_proj,v_proj"]


def test_a_range_is_drawn_evenly_on_a_logarithmic_scale_and_the_same_for_the_same_seed():
    varied = [parse_varied("learning-rate=1e-5..1e-1"), parse_varied("rank=4..64")]
    made = random_trials(varied, 200, 3, BASE)
    rates = [trial.flags["learning_rate"] for trial in made]
    assert len({tuple(trial.flags.items()) for trial in made}) == 200
    assert min(rates) >= 1e-5
    assert max(rates) <= 1e-1
    below = sum(rate < 1e-3 for rate in rates)  # the middle of the logarithms
    assert abs(below - 100) < 3 * math.sqrt(200 / 4)
    assert all(isinstance(trial.flags["rank"], int) and 4 <= trial.flags["rank"] <= 64 for trial in made)
    assert made == random_trials(varied, 200, 3, BASE)
    assert made != random_trials(varied, 200, 4, BASE)


def test_a_draw_from_lists_repeats_no_combination():
    varied = [parse_varied("rank=4,8"), parse_varied("alpha=8,16")]
    assert len({tuple(t.flags.items()) for t in random_trials(varied, 9, 0, BASE)}) == 4


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["learning-rat=1,2"], "did you mean learning-rate"),
        (["rank"], "rank=A,B,C"),
        (["rank=4,4"], "named twice"),
        (["rank=4,x"], "lora.rank = 'x'"),
        (["dropout=0.1,2"], "lora.dropout"),
        (["rank=4..16"], "add --random N"),
        (["template=a..b"], "two numbers"),
        (["quantize=1..2"], "a setting that is a number"),
        (["rank=4", "rank=8"], "given twice"),
        (["limit-dev=5,10"], "do not compare"),
        (["run=a,b"], "share output.run"),
        (["rank=" + ",".join(map(str, range(1, 30))), "alpha=" + ",".join(map(str, range(1, 30)))], "841 combinations"),
    ],
)
def test_what_cannot_be_swept_is_named(texts, message):
    with pytest.raises(ConfigError, match=message):
        trials(*texts)


def test_rounds_halve_the_trials_and_double_the_share_and_two_always_finish():
    assert [(r.trials, r.share) for r in rounds(8, 2)] == [(8, 0.25), (4, 0.5), (2, 1.0)]
    assert [(r.trials, round(r.share, 3)) for r in rounds(9, 3)] == [(9, 0.333), (3, 1.0)]
    assert [(r.trials, r.share) for r in rounds(3, 3)] == [(3, 1.0)]
    assert [(r.trials, r.share) for r in rounds(5, 0)] == [(5, 1.0)]
    assert rounds(4, 3)[-1].trials == 2
    assert total_share(rounds(8, 2)) == 8 * 0.25 + 4 * 0.25 + 2 * 0.5
    assert total_share(rounds(5, 0)) == 5
