"""Planted errors: one change in one place, reproducible, of every kind, and never what the document says."""

from __future__ import annotations

import re

import pytest

from common.check.planted import KINDS, plant_errors
from common.data.named import demo_tables

ROWS = [(row.values["document"], row.values["summary"]) for row in demo_tables("dev")["dev"].rows]
DOCUMENT = (
    "The council of Arden voted on Monday to close the old bridge for repairs until the end of spring. Mayor Lena Orth "
    "said that the work would cost 4,200 euros. Traffic is led over the ring road, which the farmers of Brill dislike, "
    "because the tractors need forty minutes more. Tomas Reel offered his field for parking."
)
SUMMARY = "Mayor Lena Orth said the old bridge in Arden is closed until the end of spring for 4,200 euros."


def test_every_kind_is_planted_in_the_demo_corpus():
    found = plant_errors(ROWS)
    assert {error.kind for error in found} == set(KINDS)
    for kind in KINDS:
        assert sum(error.kind == kind for error in found) >= 5, kind


def test_an_error_changes_what_it_says_and_nothing_else():
    for error in plant_errors(ROWS):
        original = ROWS[error.index][1]
        behind = len(error.summary) - error.end
        assert error.summary[: error.start] == original[: error.start]
        assert error.summary[error.end :] == original[len(original) - behind :]
        assert error.summary != original


def test_the_same_seed_plants_the_same_errors_and_another_seed_others():
    assert plant_errors(ROWS, 3) == plant_errors(ROWS, 3)
    assert plant_errors(ROWS, 3) != plant_errors(ROWS, 4)


def test_a_limit_holds_for_each_kind():
    found = plant_errors(ROWS, each=3)
    assert {kind: sum(error.kind == kind for error in found) for kind in KINDS} == dict.fromkeys(KINDS, 3)


@pytest.mark.parametrize("seed", range(8))
def test_kinds_do_what_they_are_called(seed):
    made = {error.kind: error for error in plant_errors([(DOCUMENT, SUMMARY), *ROWS], seed) if error.index == 0}
    number = made["number"].summary[made["number"].start : made["number"].end]
    assert re.fullmatch(r"[\d.,]+", number)
    assert number != "4,200"
    entity = made["entity"].summary[made["entity"].start : made["entity"].end]
    assert entity[0].isupper()
    assert entity not in SUMMARY
    exchanged = made["exchange"].summary
    assert sorted(re.findall(r"\w+", exchanged.lower())) == sorted(re.findall(r"\w+", SUMMARY.lower()))
    assert "is not closed" in made["negation"].summary


def test_a_summary_that_offers_nothing_to_change_gets_no_error():
    assert plant_errors([("Nothing.", "Fine!")]) == []
