"""The embedded corpus is what it claims to be: 240 varied texts whose summaries have to be written, not copied."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from importlib import resources
from statistics import mean

import pytest
from rouge_score.rouge_scorer import RougeScorer

Row = dict[str, str]
SIZES = {"train": 180, "dev": 20, "test": 40}


def _load(split: str) -> list[Row]:
    text = resources.files("common.corpus").joinpath(f"{split}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def splits() -> dict[str, list[Row]]:
    return {split: _load(split) for split in SIZES}


@pytest.fixture(scope="module")
def rows(splits: dict[str, list[Row]]) -> list[Row]:
    return [row for split in splits.values() for row in split]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _ngrams(text: str, n: int) -> set[tuple[str, ...]]:
    words = _words(text)
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


def _sentences(text: str) -> list[str]:
    return [part for part in re.split(r"(?<=[.!?])\s+|\n+", text) if part.strip()]


def test_splits_have_the_promised_sizes(splits: dict[str, list[Row]]) -> None:
    assert {split: len(rows) for split, rows in splits.items()} == SIZES


def test_ids_are_unique_and_fields_are_complete(rows: list[Row]) -> None:
    assert len({row["id"] for row in rows}) == len(rows)
    assert all(set(row) == {"id", "kind", "document", "summary"} for row in rows)


def test_twelve_kinds_of_writing_are_in_every_split(splits: dict[str, list[Row]]) -> None:
    for split in splits.values():
        assert len({row["kind"] for row in split}) == 12
    assert set(Counter(row["kind"] for row in splits["train"]).values()) == {15}


def test_documents_have_70_to_180_words_and_summaries_12_to_28(rows: list[Row]) -> None:
    wrong = [
        row["id"]
        for row in rows
        if not (70 <= len(row["document"].split()) <= 180 and 12 <= len(row["summary"].split()) <= 28)
    ]
    assert wrong == []


def test_summaries_are_one_sentence(rows: list[Row]) -> None:
    titles = re.compile(r"\b(Mr|Mrs|Ms|Dr|M)\.")
    assert [row["id"] for row in rows if len(_sentences(titles.sub(r"\1", row["summary"]))) != 1] == []
    assert all(row["summary"].endswith(".") for row in rows)


def test_no_two_documents_share_more_than_15_percent_of_their_5_grams(rows: list[Row]) -> None:
    grams = {row["id"]: _ngrams(row["document"], 5) for row in rows}
    holders = defaultdict(list)
    for name, found in grams.items():
        for gram in found:
            holders[gram].append(name)
    shared: Counter[tuple[str, str]] = Counter()
    for names in holders.values():
        shared.update((a, b) for i, a in enumerate(names) for b in names[i + 1 :])
    assert {pair: n for pair, n in shared.items() if n > 0.15 * min(len(grams[pair[0]]), len(grams[pair[1]]))} == {}


def test_the_first_sentence_is_a_poor_summary(rows: list[Row]) -> None:
    scorer = RougeScorer(["rouge1"], use_stemmer=True)

    def score(row: Row, text: str) -> float:
        return 100 * float(scorer.score(row["summary"], text)["rouge1"].fmeasure)

    lead1 = mean(score(row, _sentences(row["document"])[0]) for row in rows)
    best = mean(max(score(row, sentence) for sentence in _sentences(row["document"])) for row in rows)
    assert lead1 < 18
    assert best > lead1 + 15, "the same measure must find content elsewhere in the document"


def test_summaries_paraphrase(rows: list[Row]) -> None:
    copied = [row["id"] for row in rows if _ngrams(row["document"], 6) & _ngrams(row["summary"], 6)]
    assert copied == []
    for row in rows:
        first = Counter(_words(_sentences(row["document"])[0]))
        summary = Counter(_words(row["summary"]))
        assert sum((first & summary).values()) <= 0.6 * sum(summary.values()), row["id"]


def test_numbers_in_a_summary_are_in_its_document(rows: list[Row]) -> None:
    missing = {
        row["id"]: number
        for row in rows
        for number in re.findall(r"\d[\d.,:]*\d|\d", row["summary"])
        if number not in row["document"]
    }
    assert missing == {}


def test_the_corpus_ships_with_its_licence() -> None:
    assert "Apache-2.0" in resources.files("common.corpus").joinpath("LICENSE").read_text(encoding="utf-8")
