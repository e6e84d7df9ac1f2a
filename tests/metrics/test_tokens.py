"""Words for scoring: rouge-score's on Latin text, Unicode words in any script, by hand and against the package."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.stem.porter import PorterStemmer
from rouge_score import tokenize as rouge_score_tokenize

from common.metrics.tokens import choose_tokenizer, get_tokenizer, word_spans

FRENCH = "L'été, les élèves préfèrent la forêt à l'école."
HINDI = "किताबें बच्चों को दुनिया दिखाती हैं।"
CHINESE = "他在北京买了3本书。"
THAI = "สวัสดีครับ"


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_the_rouge_score_tokenizer_groups_words_as_rouge_score_does(text: str) -> None:
    expected = rouge_score_tokenize.tokenize(text, PorterStemmer())
    ids = get_tokenizer("rouge-score").ids(text)
    assert [ids.index(identifier) for identifier in ids] == [expected.index(stem) for stem in expected]


def test_words_with_one_stem_share_an_id_and_only_with_the_stemmer() -> None:
    assert len(set(get_tokenizer("rouge-score").ids("running runs run"))) == 1
    assert len(set(get_tokenizer("rouge-score", stemmer=False).ids("running runs run"))) == 3


def test_accented_french_words_stay_whole_under_the_unicode_tokenizer() -> None:
    assert get_tokenizer("unicode").words(FRENCH) == [
        *("l", "été", "les", "élèves", "préfèrent", "la", "forêt", "à", "l", "école")
    ]
    assert "t" in get_tokenizer("rouge-score").words(FRENCH)  # what would be left of "été"


def test_hindi_vowel_signs_stay_in_their_word() -> None:
    assert get_tokenizer("unicode").words(HINDI) == ["किताबें", "बच्चों", "को", "दुनिया", "दिखाती", "हैं"]
    assert get_tokenizer("rouge-score").words(HINDI) == []


def test_each_chinese_character_is_a_word_and_digits_stay_together() -> None:
    assert get_tokenizer("unicode").words(CHINESE) == ["他", "在", "北", "京", "买", "了", "3", "本", "书"]
    assert get_tokenizer("unicode").words("第42章") == ["第", "42", "章"]


def test_thai_marks_stay_with_their_consonant() -> None:
    words = get_tokenizer("unicode").words(THAI)
    assert "".join(words) == THAI
    assert all(not unicodedata.category(word[0]).startswith("M") for word in words)


def test_composed_and_decomposed_text_are_the_same_words() -> None:
    decomposed = unicodedata.normalize("NFD", FRENCH)
    assert decomposed != FRENCH
    assert get_tokenizer("unicode").ids(decomposed) == get_tokenizer("unicode").ids(FRENCH)


def test_invisible_joiners_do_not_make_another_word() -> None:
    assert get_tokenizer("unicode").words("co\u00adoperate क्\u200dष") == ["cooperate", "क्ष"]


def test_word_offsets_point_into_the_text_as_given() -> None:
    text = unicodedata.normalize("NFD", "Où est Zoë ?")
    assert [unicodedata.normalize("NFC", text[start:end]).lower() for _, start, end in word_spans(text)] == [
        "où",
        "est",
        "zoë",
    ]


@pytest.mark.parametrize(
    ("texts", "name"),
    [
        (["Beyoncé sang for ninety minutes at the opening of the new stadium, and the crowd asked for more."] * 2
         + ["The council will vote on the plan next week, after the last of the public hearings in the town hall."] * 3,
         "rouge-score"),
        ([FRENCH], "unicode"),
        ([HINDI], "unicode"),
        ([CHINESE], "unicode"),
        (["Die Bürger möchten über die Straße abstimmen."], "unicode"),
        ([], "rouge-score"),
        (["", "12 34"], "rouge-score"),
    ],
)  # fmt: skip
def test_the_tokenizer_is_chosen_by_the_share_of_letters_outside_ascii(texts: list[str], name: str) -> None:
    assert choose_tokenizer(texts) == name


def test_the_description_names_tokenizer_and_stemmer() -> None:
    assert get_tokenizer("rouge-score").description == "rouge-score (Porter stemmer)"
    assert get_tokenizer("rouge-score", stemmer=False).description == "rouge-score (no stemmer)"
    assert "NFC" in get_tokenizer("unicode").description
