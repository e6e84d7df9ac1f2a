"""The compute-optimal estimates against the paper's rows, and against the laws they are derived from."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.budget.chinchilla import (
    BESIROGLU,
    FRONTIERS,
    HOFFMANN,
    LOSSES,
    compare,
    estimate,
    estimates,
    given_model,
    outside_fitted_range,
    spread,
)
from common.errors import UsageError

# Hoffmann et al. 2022, Table 3 and Table A3: (approach, FLOPs, parameters, tokens).
PUBLISHED = [
    ("1", 1.92e19, 4e8, 8.0e9),
    ("1", 1.21e20, 1e9, 2.02e10),
    ("1", 5.76e23, 6.7e10, 1.5e12),
    ("1", 1.30e28, 1e13, 2.162e14),
    ("2", 1.84e19, 4e8, 7.7e9),
    ("2", 1.18e25, 2.8e11, 7.1e12),
    ("2", 1.75e28, 1e13, 2.920e14),
    ("3", 2.21e19, 4e8, 9.2e9),
    ("3", 1.71e24, 6.7e10, 4.1e12),
    ("3", 8.55e28, 1e13, 1.4255e15),
]
BUDGETS = st.floats(15, 28).map(lambda exponent: 10.0**exponent)


@pytest.mark.parametrize(("approach", "flops", "params", "tokens"), PUBLISHED)
def test_the_papers_rows_are_reproduced_within_ten_percent(approach, flops, params, tokens):
    ours = estimate(approach, flops)
    assert ours.params == pytest.approx(params, rel=0.10)
    assert ours.tokens == pytest.approx(tokens, rel=0.10)


def test_the_replication_recommends_about_twenty_tokens_per_parameter_at_chinchillas_budget():
    # Besiroglu et al. 2024: their fit is compatible with the 20 tokens per parameter of Chinchilla (5.76e23 FLOPs).
    assert estimate("3-replication", 5.76e23).tokens_per_param == pytest.approx(20, rel=0.15)
    assert estimate("3", 5.76e23).tokens_per_param > 40


@given(BUDGETS)
def test_every_estimate_spends_exactly_its_budget(flops):
    for row in estimates(flops=flops):
        assert 6 * row.params * row.tokens == pytest.approx(flops, rel=1e-9)


@given(BUDGETS)
def test_no_other_size_at_the_same_budget_has_a_lower_predicted_loss(flops):
    for approach, law in LOSSES.items():
        best = estimate(approach, flops)
        for factor in (0.5, 0.9, 1.1, 2.0):
            params = best.params * factor
            assert law.loss(params, flops / 6 / params) > best.loss


@given(BUDGETS)
def test_a_size_or_token_count_leads_back_to_the_budget_at_which_it_is_optimal(flops):
    for frontier in FRONTIERS.values():
        params = frontier.params(flops)
        assert frontier.flops_for_params(params) == pytest.approx(flops, rel=1e-6)
        assert frontier.flops_for_tokens(flops / 6 / params) == pytest.approx(flops, rel=1e-6)


@given(BUDGETS)
def test_the_compute_for_a_loss_is_that_of_the_optimum_that_has_it(flops):
    for approach, law in LOSSES.items():
        assert law.flops_for_loss(estimate(approach, flops).loss) == pytest.approx(flops, rel=1e-6)


def test_no_compute_reaches_the_entropy_of_text():
    assert math.isinf(HOFFMANN.flops_for_loss(HOFFMANN.E))
    assert BESIROGLU.loss(1e30, 1e30) == pytest.approx(BESIROGLU.E, abs=1e-6)


def test_the_loss_of_chinchilla_itself_by_hand():
    # 406.4 / 70e9**0.3392 + 410.7 / 1.4e12**0.2849 + 1.6934
    assert HOFFMANN.loss(70e9, 1.4e12) == pytest.approx(1.6934 + 0.0849 + 0.1417, abs=2e-3)


@pytest.mark.parametrize(
    ("given_amounts", "expected"),
    [((6e20, 1e9, None), (1e9, 1e11)), ((6e20, None, 1e11), (1e9, 1e11)), ((None, 1e9, 1e11), (1e9, 1e11))],
)
def test_two_amounts_describe_a_model(given_amounts, expected):
    model = given_model(*given_amounts)
    assert (model.params, model.tokens) == pytest.approx(expected)
    assert model.flops == pytest.approx(6e20)


def test_one_amount_describes_no_model_and_three_or_none_are_refused():
    assert given_model(1e18, None, None) is None
    for amounts in ((None, None, None), (1e18, 1e9, 1e9)):
        with pytest.raises(UsageError, match="give one for the optimum"):
            given_model(*amounts)


def test_a_model_twice_the_optimal_size_is_told_so_and_could_have_been_cheaper():
    best = estimate("3", 1e21)
    model = given_model(1e21, 2 * best.params, None)
    by_approach = {row.approach: row for row in compare(model)}
    row = by_approach["3"]
    assert row.params_ratio == pytest.approx(2)
    assert row.loss > row.optimal_loss
    assert row.flops_for_same_loss < model.flops
    assert by_approach["1"].loss is None


def test_unrealistic_amounts_are_refused_instead_of_answered_with_nonsense():
    for amounts in ({"flops": 1e300}, {"flops": 1e-3}, {"params": 1e308}, {"tokens": 1e200}):
        with pytest.raises(UsageError, match="no estimate can speak of"):
            estimates(**amounts)
    with pytest.raises(UsageError, match="each must be"):
        given_model(1e18, 1e20, None)


def test_budgets_beyond_the_runs_behind_the_fits_are_known_as_such():
    assert outside_fitted_range(1e18)
    assert not outside_fitted_range(1e20)
    assert spread([2.0, 8.0, 4.0]) == {"low": 2.0, "high": 8.0, "ratio": 4.0}
