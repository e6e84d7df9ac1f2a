"""Leads, the random sentence and the extractive oracle on small documents whose answer is known."""

from __future__ import annotations

import itertools

import pytest

from common.errors import DataError
from common.metrics.baselines import document_units, extractive_oracle, lead, random_sentence
from common.metrics.rouge import rouge_scores

NEWS = "The bridge closed on Monday. Rain had washed out a pier. Repairs cost two million. Drivers must wait."
DIALOGUE = "Anna: Are you in? I am here.\nBo: Two minutes.\nAnna: Fine. Take your time."


def test_the_lead_counts_sentences_of_prose_and_turns_of_a_dialogue() -> None:
    assert lead([NEWS, DIALOGUE, ""], 1) == [
        "The bridge closed on Monday.",
        "Anna: Are you in? I am here.",
        "",
    ]
    assert lead([NEWS], 3)[0].count("\n") == 2
    assert document_units(DIALOGUE) == DIALOGUE.split("\n")


def test_one_line_with_a_colon_is_not_a_dialogue() -> None:
    assert document_units("Note: bring a coat. It rains.") == ["Note: bring a coat.", "It rains."]
    assert len(document_units("Update: all done. Go home.\nThe rest of this text is prose. It has no speakers.")) == 4


def test_the_random_sentence_depends_on_seed_and_document_and_nothing_else() -> None:
    others = [f"{NEWS} Number {place}." for place in range(60)]
    alone = [random_sentence([document])[0] for document in others]
    assert random_sentence(others) == alone
    assert random_sentence(list(reversed(others))) == list(reversed(alone))
    assert random_sentence(others, seed=1) != alone
    assert len(set(alone)) > 4  # all sentences of the document are drawn
    assert random_sentence([""]) == [""]


def test_the_oracle_picks_the_sentences_that_score_best_and_stops() -> None:
    reference = "Rain washed out a pier of the bridge and drivers must wait."
    chosen = extractive_oracle([NEWS], [reference])[0]
    assert chosen == "Rain had washed out a pier.\nDrivers must wait."


def test_no_selection_of_sentences_beats_the_oracle_on_this_document() -> None:
    reference = "Repairs of the washed out bridge cost two million."
    units = document_units(NEWS)
    selections = ["\n".join(choice) for size in (1, 2, 3) for choice in itertools.combinations(units, size)]
    oracle = extractive_oracle([NEWS], [reference])
    scores = rouge_scores([*selections, *oracle], [reference] * (len(selections) + 1)).fmeasure
    combined = scores["rouge1"] + scores["rouge2"]
    assert combined[-1] == pytest.approx(combined[:-1].max())


def test_with_several_references_the_oracle_serves_the_one_it_can_copy() -> None:
    chosen = extractive_oracle([NEWS], [["Nothing of this occurs.", "Repairs cost two million."]])
    assert chosen == ["Repairs cost two million."]
    assert extractive_oracle([""], ["a"]) == [""]
    with pytest.raises(DataError, match="1 documents for 2 references"):
        extractive_oracle([NEWS], ["a", "b"])
