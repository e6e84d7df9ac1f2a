"""Unsupported claims: what must be flagged, what must not, and where the flags point."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import DataError
from common.metrics.faithfulness import KINDS, faithfulness, unsupported_claims

DOCUMENT = (
    "Maria Okafor, 34, of the Northern Transport Authority (NTA) said on Monday that 1,187 trains were late in March. "
    "Britain's rail operators called the figures \"deeply worrying\". Robert Lindqvist of Russia's freight union "
    "agreed. The Federal Rail Council meets on 12/05/2023."
)


def flagged(summary: str, document: str = DOCUMENT) -> list[tuple[str, str]]:
    return [(claim.kind, claim.text) for claim in unsupported_claims(document, summary)]


@pytest.mark.parametrize(
    ("summary", "claims"),
    [
        ("In all 2,400 trains were late.", [("number", "2,400")]),
        ("Trains were late in April.", [("date", "April")]),
        ("She spoke on Tuesday.", [("date", "Tuesday")]),
        ("It was worse than in 2019.", [("date", "2019")]),
        ("She is Maria Hansen.", [("name", "Hansen")]),
        ("Trains to New Delhi were late.", [("name", "New Delhi")]),
        ('She called it "a national scandal".', [("quote", '"a national scandal"')]),
        ("Ivan tells reporters that trains were late.", [("name", "Ivan")]),
        ("A study by NASA found late trains.", [("name", "NASA")]),
        (
            "In Oslo, 55 trains were late on Friday.",
            [("name", "Oslo"), ("number", "55"), ("date", "Friday")],
        ),
    ],
)
def test_claims_without_support_are_listed_in_order(summary: str, claims: list[tuple[str, str]]) -> None:
    assert flagged(summary) == claims


@pytest.mark.parametrize(
    "summary",
    [
        "Nearly 1,200 trains were late in March.",
        "Okafor's figures cover Mar. 2023.",
        "The NTA counted late trains.",
        "The Northern Transport Authority counted late trains.",
        "British operators were worried, and so was a Russian union.",
        "The UK has late trains.",
        "Mr Lindqvist, called Rob, agreed.",
        "The FRC meets in May 2023.",
        'They are "deeply … worrying".',
        "Commuters complain: They wait too long.",
        "Passengers' patience ends. Nobody is happy.",
        "MARIA OKAFOR SAYS TRAINS IN MADRID ARE LATE",  # capitals tell nothing about names
        "One or two people said it for the first time.",
        "#Person1# agrees.",
    ],
)
def test_other_forms_of_what_the_document_says_are_not_flagged(summary: str) -> None:
    assert flagged(summary, DOCUMENT + " #Person1# was there.") == []


def test_offsets_point_at_the_claim() -> None:
    summary = "In Oslo, 55 trains were late on Friday."
    for claim in unsupported_claims(DOCUMENT, summary):
        assert summary[claim.start : claim.end] == claim.text


def test_a_month_that_is_also_a_word_is_a_date_only_where_a_date_would_stand() -> None:
    assert flagged("It may rain. May said so. They march on.", "It will rain, said Mrs May.") == []
    assert flagged("It rains in May.", "It rains.") == [("date", "May")]


def test_an_acronym_is_known_from_the_words_it_stands_for_and_the_reverse() -> None:
    assert flagged("It uses a VAE and an LSTM.", "We use a variational autoencoder and long short-term memory.") == []
    assert flagged("The UK Independence Party rejects it.", "UKIP rejects it.") == []
    assert flagged("It uses a GAN.", "We use a variational autoencoder.") == [("name", "GAN")]


def test_two_letters_and_short_words_do_not_vouch_for_a_name_by_chance() -> None:
    document = "The mayor and her team went to a town under trees. He was in no hurry."
    assert flagged("Critics praise Theresa and Andrew.", document) == [("name", "Theresa"), ("name", "Andrew")]
    assert flagged("Critics blame the EU.", document) == [("name", "EU")]  # "… a town under …": t, u; "her team": h, t
    assert flagged("Critics use RL.", "We use reinforcement learning.") == []


def test_possessives_in_a_text_are_not_quotation_marks() -> None:
    assert flagged("#Person1#'s dog eats the students' food.", "#Person1#: the students' food is gone.") == []


def test_quotes_are_compared_by_their_words_alone() -> None:
    document = "He said: “We’re deeply — truly — sorry for it.”"
    assert flagged('He is "deeply, truly sorry".', document) == []
    assert flagged("He is 'deeply sorry'.", document) == [("quote", "'deeply sorry'")]


def test_counts_by_kind_add_up() -> None:
    summaries = ["In Oslo, 55 trains were late on Friday.", "Trains were late.", ""]
    counts = faithfulness([DOCUMENT] * 3, summaries)
    assert counts["unsupported"].tolist() == [3, 0, 0]
    assert sum(counts[f"unsupported_{kind}"] for kind in KINDS).tolist() == [3, 0, 0]  # type: ignore[union-attr]
    with pytest.raises(DataError, match="1 summaries for 2 documents"):
        faithfulness(["a", "b"], ["a"])


@settings(deadline=None)
@given(st.text(alphabet="AaBb12 .,'\"-\n#é", max_size=60))
def test_a_document_supports_itself(text: str) -> None:
    assert unsupported_claims(text, text) == []


@settings(deadline=None)
@given(st.text(max_size=60), st.text(max_size=60))
def test_any_text_can_be_checked_and_claims_are_disjoint(document: str, summary: str) -> None:
    reached = 0
    for claim in unsupported_claims(document, summary):
        assert reached <= claim.start < claim.end <= len(summary)
        reached = claim.end
