"""Near duplicates against brute force, exact ones by their definition, and in time."""

from __future__ import annotations

import random
import time

from common.data.duplicates import SIMILARITY, find_duplicates, find_leaks, sketch
from common.metrics.tokens import words as bare_words

VOCABULARY = [f"word{n}" for n in range(3000)]


def _document(rng: random.Random, words: int = 120) -> list[str]:
    return rng.choices(VOCABULARY, k=words)


def _edited(rng: random.Random, words: list[str], edits: int) -> list[str]:
    changed = list(words)
    for place in rng.sample(range(len(words)), edits):
        changed[place] = rng.choice(VOCABULARY)
    return changed


def _jaccard(a: str, b: str) -> float:
    def shingles(text: str) -> set[tuple[str, ...]]:
        words = bare_words(text)
        return set(zip(words, words[1:], words[2:], strict=False))

    return len(shingles(a) & shingles(b)) / len(shingles(a) | shingles(b))


def test_matches_agree_with_brute_force() -> None:
    rng = random.Random(7)
    originals = [" ".join(_document(rng)) for _ in range(60)]
    edited = [
        " ".join(_edited(rng, text.split(), edits)) for text, edits in zip(originals, [*range(12)] * 5, strict=True)
    ]
    expected = {n for n, (a, b) in enumerate(zip(originals, edited, strict=True)) if _jaccard(a, b) >= SIMILARITY}
    matches = find_leaks(sketch(edited), sketch(originals))
    assert 15 < len(expected) < 40, "the edits must straddle the threshold"
    assert {match.index for match in matches} == expected
    for match in matches:
        assert match.of == match.index
        assert match.exact or abs(match.similarity - _jaccard(originals[match.of], edited[match.index])) < 1e-6


def test_case_and_white_space_do_not_make_a_document_new() -> None:
    documents = ["The cat sat on the mat.", "Something else entirely here.", "the CAT  sat\non the mat."]
    (match,) = find_duplicates(sketch(documents))
    assert (match.index, match.of, match.exact) == (2, 0, True)


def test_dropping_what_is_listed_leaves_nothing_to_list() -> None:
    rng = random.Random(3)
    seeds = [_document(rng) for _ in range(10)]
    documents = [" ".join(_edited(rng, rng.choice(seeds), rng.randrange(9))) for _ in range(200)]
    gone = {match.index for match in find_duplicates(sketch(documents))}
    assert gone
    kept = [document for index, document in enumerate(documents) if index not in gone]
    assert find_duplicates(sketch(kept)) == []


def test_documents_without_words_and_empty_sets_are_no_trouble() -> None:
    assert find_duplicates(sketch([])) == []
    assert find_leaks(sketch(["a b c"]), sketch([])) == []
    assert [match.index for match in find_duplicates(sketch(["!!!", "???", "!!!", ""]))] == [2]


def test_chinese_is_compared_by_character() -> None:
    text = "今天天气很好我们去公园散步然后回家吃饭晚上看电影明天还要上班所以早点睡觉大家都很高兴这是一个普通的周末"
    changed = text.replace("公园", "海边")
    (match,) = find_duplicates(sketch([text, changed]))
    assert not match.exact


def test_twelve_thousand_documents_take_seconds() -> None:
    rng = random.Random(1)
    documents = [" ".join(_document(rng, 60)) for _ in range(12_000)]
    began = time.process_time()
    assert find_duplicates(sketch(documents)) == []
    assert time.process_time() - began < 10


def test_documents_from_one_template_do_not_take_forever() -> None:
    rng = random.Random(2)
    template = _document(rng, 100)
    documents = [" ".join([*template, *_document(rng, 30)]) for _ in range(1500)]
    began = time.process_time()
    find_duplicates(sketch(documents))
    assert time.process_time() - began < 8
