"""Words for scoring: rouge-score's on Latin text, Unicode words in any script, by hand and against the package."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from icu4py.breakers import WordBreaker
from nltk.stem.porter import PorterStemmer
from nltk.stem.snowball import SnowballStemmer
from rouge_score import tokenize as rouge_score_tokenize

from common.metrics.tokens import choose_tokenizer, count_words, get_tokenizer, word_spans, words

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


ITALIAN = [
    "Il coro annulla il concerto per la pioggia nella sala.",
    "Il gelo dimezza i fiori dei peri vicino a Olmo.",
    "La ferrovia chiude il ponte: i pendolari si lamentano perché l'attesa è lunga.",
    "Il bibliobus non passerà più di venerdì; novità da luglio.",
]


@pytest.mark.parametrize(
    ("texts", "language", "name"),
    [
        (["Beyoncé sang for ninety minutes at the opening of the new stadium."] * 2
         + ["The council will vote on the plan next week, after the last of the hearings in the town hall."] * 3,
         "en", "rouge-score"),
        ([FRENCH], "fr", "unicode"),
        ([HINDI], "hi", "unicode"),
        ([CHINESE], "zh", "unicode"),
        (["Die Bürger möchten über die Straße abstimmen."], "de", "unicode"),
        (["Kapal itu tiba di pelabuhan pada hari Senin dan para penumpang turun."], "id", "unicode"),
        ([], "", "rouge-score"),
        (["", "12 34"], "", "rouge-score"),
        (["ñxz ßqw žžk"], "", "unicode"),
    ],
)  # fmt: skip
def test_the_tokenizer_is_chosen_by_language(texts: list[str], language: str, name: str) -> None:
    chosen = choose_tokenizer(texts)
    assert (chosen.language, chosen.name) == (language, name)


def test_a_part_of_a_set_gets_the_tokenizer_and_stemmer_of_the_whole() -> None:
    descriptions = {choose_tokenizer(ITALIAN[:rows]).description for rows in range(1, len(ITALIAN) + 1)}
    assert descriptions == {choose_tokenizer(ITALIAN).description}
    assert "Snowball stemmer for Italian" in descriptions.pop()


def test_a_given_language_overrides_what_is_found() -> None:
    assert choose_tokenizer(ITALIAN, language="en").name == "rouge-score"
    assert (
        choose_tokenizer(["plain English words of the town"], language="es").stemmer == "Snowball stemmer for Spanish"
    )


def test_stems_are_those_of_nltk_snowball() -> None:
    words = ["gatti", "gatto", "corrono", "correre", "bellissima", "case", "casa"]
    ids = get_tokenizer("unicode", language="it").ids(" ".join(words))
    stemmer = SnowballStemmer("italian")
    assert [ids.index(found) for found in ids] == [
        [*map(stemmer.stem, words)].index(stemmer.stem(word)) for word in words
    ]
    assert len(set(ids)) < len(words) == len(set(get_tokenizer("unicode").ids(" ".join(words))))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't pay 3.5 or 1,250 at 9:30.", "don't pay 3.5 or 1,250 at 9 30"),
        ("The U.S. well-known snake_case B2B", "the u.s well known snake case b2b"),
        ("l'été, d'un ami, dell'acqua, aujourd'hui, it's", "l été d un ami dell acqua aujourd'hui it's"),
        ("ارتفع إلى ١٬٢٥٠٬٠٠٠ و٣٫٥", "ارتفع إلى ١٬٢٥٠٬٠٠٠ و٣٫٥"),
        ("ガラス・コップ、人々", "ガ ラ ス コ ッ プ 人 々"),
        ("ภาษาไทยกินข้าว", "ภาษา ไทย กิน ข้าว"),
        ("か\u3099 ひらがな", "が ひ ら が な"),
        ("😀 ภาษาไทย ok", "ภาษา ไทย ok"),
    ],
)
def test_words_end_where_unicode_and_the_dictionaries_say(text: str, expected: str) -> None:
    assert words(text) == expected.split()
    assert count_words(text) == len(expected.split())
    assert [unicodedata.normalize("NFC", text[start:end]).lower() for _, start, end in word_spans(text)] == words(text)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from([*"abèßЖשkñ 1٣.,-_ ", "किं", "e\u0301", "ב"]), max_size=25))
def test_words_are_those_of_icu_but_for_apostrophes_and_underscores(pieces: list[str]) -> None:
    text = "".join(pieces)
    segments = WordBreaker(text, "en").segments()
    icu = [text[start:end] for start, end in segments if any(map(str.isalnum, text[start:end]))]
    expected = [part for word in icu for part in word.split("_") if part]
    assert [text[start:end] for _, start, end in word_spans(text)] == expected


def test_the_description_names_tokenizer_and_stemmer() -> None:
    assert get_tokenizer("rouge-score").description == "rouge-score (Porter stemmer)"
    assert get_tokenizer("rouge-score", stemmer=False).description == "rouge-score (no stemmer)"
    assert "no stemmer" in get_tokenizer("unicode", language="hi").description
    assert "NFC" in get_tokenizer("unicode").description
