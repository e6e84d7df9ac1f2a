"""The checkers `rules` and `built-in`, and the passages that they point at."""

from __future__ import annotations

import pytest

from common.check.built_in import BuiltIn, sentence_support
from common.check.open import open_checker
from common.check.overlap import DocumentWords, content_words
from common.check.rules import Rules
from common.check.support import DocumentSummary
from common.errors import UsageError

DOCUMENT = (
    "The council voted on Monday to close the old bridge for repairs until the end of spring. Engineers said that the "
    "work would cost four million and that traffic would be led over the ring road. A storm took the power from nine "
    "hundred homes, and crews restored it on Wednesday. Nobody was hurt."
)


def check(summary: str, document: str = DOCUMENT):
    (checked,) = BuiltIn().check([DocumentSummary(document, summary)])
    return checked


def test_a_copied_sentence_has_more_support_than_an_invented_one():
    copied = check("The council voted to close the old bridge until the end of spring.")
    invented = check("The minister praised a new airport in Lisbon.")
    assert copied.support > 0.5 > invented.support


def test_support_is_that_of_the_least_supported_sentence():
    checked = check("The council voted to close the old bridge. The minister flew to Lisbon.")
    assert len(checked.sentences) == 2
    assert checked.support == checked.sentences[1].support < checked.sentences[0].support


def test_an_empty_summary_has_no_support():
    assert check("").support == 0.0
    assert check(" \n").sentences == ()


def test_a_number_that_the_document_lacks_costs_support():
    assert check("The work would cost four million.").support > check("The work would cost 7 million.").support


def test_support_falls_with_what_is_missing_and_with_claims():
    assert sentence_support(0.0, 0) > sentence_support(0.3, 0) > sentence_support(0.3, 1) > sentence_support(0.3, 2) > 0


def test_evidence_points_at_the_passages_that_hold_the_words():
    (sentence,) = check("Repairs close the old bridge, and nine hundred homes had no power.").sentences
    texts = [DOCUMENT[passage.start : passage.end] for passage in sentence.evidence]
    assert any(text.startswith("The council voted") for text in texts)
    assert any("nine hundred homes" in text for text in texts)
    assert not any("Nobody" in text for text in texts)


def test_offsets_are_code_points_of_the_texts_as_they_are():
    document = "🙂 Ünïcode først.\n\n日本語の文です。橋は春まで閉鎖される。 The café closes."
    (sentence,) = check("  The café closes. ", document).sentences
    assert "  The café closes. "[sentence.start : sentence.end] == "The café closes."
    assert document[sentence.evidence[0].start : sentence.evidence[0].end] == "The café closes."
    (sentence,) = check("橋は閉鎖される。", document).sentences
    assert document[sentence.evidence[0].start : sentence.evidence[0].end] == "橋は春まで閉鎖される。"


def test_a_word_in_another_form_is_near_its_own():
    words = DocumentWords("They restart the plant.")
    assert words.nearest("restarting")[0] > 0.5 > words.nearest("cracker")[0]
    assert words.nearest("7") == (0.0, "")


def test_scripts_without_spaces_are_compared_by_pairs_of_characters():
    assert content_words("橋は閉鎖") == ["橋は", "は閉", "閉鎖", "鎖"][:3]
    assert content_words("the of") == ["the", "of"]


def test_rules_mark_the_sentence_with_the_unsupported_claim():
    (checked,) = Rules().check([DocumentSummary(DOCUMENT, "Nine hundred homes lost power. It cost 7 million.")])
    assert [sentence.support for sentence in checked.sentences] == [1.0, 0.25]


def test_an_unknown_checker_is_named_with_the_nearest():
    with pytest.raises(UsageError, match=r"did you mean.*built-in"):
        open_checker("builtin")
