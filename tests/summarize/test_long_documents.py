"""Texts longer than a prompt: what each method hands to the last prompt."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from common.summarize.key_sentences import key_sentences, lexrank
from common.summarize.long_documents import fit_documents

FACTS = [f"Fact {number} is that the ferry carries {number} people." for number in range(20)]
LONG, SHORT = " ".join(FACTS), "The ferry stays."


def words(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def first_sentences(parts: dict[int, list[str]]) -> dict[int, list[str]]:
    return {place: [part.split(".")[0] + "." for part in group] for place, group in parts.items()}


def test_short_documents_stay_as_they_are_whatever_the_method() -> None:
    for method in ("truncate", "map-reduce", "two-stage"):
        fitted = fit_documents([SHORT], method, 50, words, first_sentences)
        assert (fitted[0].text, fitted[0].parts, fitted[0].unread_tokens) == (SHORT, (), 0)


def test_map_reduce_summarizes_the_parts_of_all_documents_in_one_call_and_merges_them() -> None:
    calls: list[dict[int, list[str]]] = []

    def summarize(parts: dict[int, list[str]]) -> dict[int, list[str]]:
        calls.append(parts)
        return first_sentences(parts)

    first, middle, last = fit_documents([LONG, SHORT, LONG], "map-reduce", 60, words, summarize)
    assert len(calls) == 1
    assert sorted(calls[0]) == [0, 2]
    assert " ".join(part.strip() for part in calls[0][0]) == LONG, "every sentence of the document is read"
    assert first.parts == tuple(part.split(".")[0] + "." for part in calls[0][0])
    assert first.text == "\n".join(first.parts)
    assert first == last
    assert middle.text == SHORT


def test_map_reduce_goes_on_until_the_merged_text_fits() -> None:
    fitted = fit_documents([LONG], "map-reduce", 20, words, first_sentences)[0]
    assert words([fitted.text])[0] <= 20
    assert len(fitted.parts) > 1


def test_map_reduce_ends_where_summaries_are_no_shorter_than_their_parts() -> None:
    fitted = fit_documents([LONG], "map-reduce", 20, words, lambda parts: parts)[0]
    assert fitted.text == LONG
    assert fitted.failed_parts == 0


def test_parts_without_a_summary_are_counted() -> None:
    fitted = fit_documents(
        [LONG], "map-reduce", 60, words, lambda parts: {0: ["Only this.", *[""] * (len(parts[0]) - 1)]}
    )
    assert fitted[0].text == "Only this."
    assert fitted[0].failed_parts >= 2
    nothing = fit_documents([LONG], "map-reduce", 60, words, lambda parts: {0: [""] * len(parts[0])})
    assert nothing[0].text == LONG
    assert nothing[0].failed_parts >= 3


def test_two_stage_keeps_whole_sentences_in_order_within_the_room_and_counts_the_rest() -> None:
    fitted = fit_documents([LONG], "two-stage", 60, words, first_sentences)[0]
    assert words([fitted.text])[0] <= 60
    assert fitted.text == " ".join(fitted.parts)
    assert [FACTS.index(part) for part in fitted.parts] == sorted(FACTS.index(part) for part in fitted.parts)
    assert fitted.unread_tokens == words([LONG])[0] - words([fitted.text])[0] > 0


def test_two_stage_keeps_paragraphs_apart() -> None:
    text = "\n\n".join(FACTS)
    assert fit_documents([text], "two-stage", 40, words, first_sentences)[0].text.count("\n") >= 2


def test_lexrank_is_a_distribution_that_favours_what_shares_words_with_much() -> None:
    sentences = ["the ferry stays", "the ferry stays open", "a ferry", "cats sleep all day"]
    rank = lexrank(sentences)
    assert rank.sum() == pytest.approx(1.0)
    assert min(rank[0], rank[1]) > rank[2] > rank[3] > 0, "one shares a word with two others, one with none"
    assert lexrank(["a b", "b c", "c a"]) == pytest.approx(1 / 3), "each is as near to the others"


def test_a_sentence_that_does_not_fit_is_passed_over() -> None:
    sentences = ["The ferry to Orrin stays, the council of the town says after a long debate.", "Ferry stays.", "Rain."]
    assert key_sentences(sentences, [16, 2, 1], 3) == [1, 2]
    assert key_sentences(sentences, [16, 2, 1], 0) == []
    assert key_sentences([], [], 5) == []


def test_scores_do_not_need_words() -> None:
    assert np.isfinite(lexrank(["…", "—", "?"])).all()
