"""Krippendorff's alpha against his own published example, and its limits."""

from __future__ import annotations

import math

import numpy as np
import pytest

from common.errors import DataError
from common.metrics.agreement import Level, krippendorff_alpha

NONE = math.nan
# Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", example C: four observers, twelve units.
PUBLISHED = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, NONE, NONE, NONE],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NONE, 3],
    [NONE, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NONE],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NONE],
]


@pytest.mark.parametrize(("level", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_of_the_published_example(level: Level, published: float) -> None:
    assert krippendorff_alpha(PUBLISHED, level) == pytest.approx(published, abs=0.0005)


def test_two_raters_without_gaps_by_hand() -> None:
    """Example A of the same paper: two observers, ten units, binary data, alpha 0.095."""
    first = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0]
    second = [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    assert krippendorff_alpha([first, second], "nominal") == pytest.approx(0.095, abs=0.0005)


def test_agreement_is_one_when_all_agree_near_zero_by_chance_and_negative_when_they_oppose() -> None:
    ratings = np.random.default_rng(0).integers(1, 6, size=2000)
    assert krippendorff_alpha([ratings, ratings], "ordinal") == pytest.approx(1)
    assert abs(krippendorff_alpha([ratings, np.random.default_rng(1).permutation(ratings)], "ordinal")) < 0.06
    assert krippendorff_alpha([ratings, 6 - ratings], "interval") < -0.9


def test_the_order_of_raters_and_units_does_not_matter() -> None:
    table = np.array(PUBLISHED)
    shuffled = table[::-1, np.random.default_rng(0).permutation(table.shape[1])]
    assert krippendorff_alpha(shuffled, "ordinal") == pytest.approx(krippendorff_alpha(table, "ordinal"))


def test_equal_ratings_say_nothing_and_lonely_ratings_are_refused() -> None:
    assert math.isnan(krippendorff_alpha([[3, 3], [3, 3]], "nominal"))
    with pytest.raises(DataError, match="at least two raters"):
        krippendorff_alpha([[1, NONE], [NONE, 2]], "nominal")
