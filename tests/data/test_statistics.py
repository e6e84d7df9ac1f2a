"""Statistics against hand-worked numbers, and what a length limit cuts against the encoder that cuts it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from common.data.encode import encode_examples
from common.data.prompts import PromptFormat, find_template
from common.data.sources import load_splits
from common.data.statistics import describe, describe_split, lengths, recommend
from common.model.tokenizer import load_tokenizer
from common.settings import DataSettings
from common.types import Example
from tests.tiny_models import build_tiny_tokenizer


@pytest.fixture(scope="module")
def demo() -> list[Example]:
    return load_splits(DataSettings(data="demo"), 0).train


@pytest.fixture(scope="module")
def tokenizer_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def _form(directory: Path, max_length: int, max_summary_tokens: int = 0, max_document_tokens: int = 0) -> PromptFormat:
    tokenizer = load_tokenizer(directory)
    return PromptFormat(find_template("simple"), tokenizer, max_length, max_document_tokens, max_summary_tokens)


def test_hand_worked_lengths() -> None:
    found = lengths(np.arange(1, 101))
    assert (found.mean, found.median, found.max) == (50.5, 50.5, 100)
    assert found.p95 == pytest.approx(95.05)
    assert found.p99 == pytest.approx(99.01)
    assert found.edges[:3] == (0, 5, 10)
    assert found.counts[:2] == (4, 5)
    assert sum(found.counts) == 100


def test_what_lies_above_the_99th_percentile_is_in_the_last_bin() -> None:
    found = lengths(np.array([10] * 995 + [10_000] * 5))
    assert found.max == 10_000
    assert found.edges[-1] < 20
    assert sum(found.counts) == 1000
    assert len(found.edges) == len(found.counts) + 1


@pytest.mark.parametrize("values", [[0], [1], [7, 7, 7], [1, 10**6]])
def test_histograms_of_few_values_hold_them_all(values: list[int]) -> None:
    assert sum(lengths(np.array(values)).counts) == len(values)


def test_hand_worked_compression_and_novelty() -> None:
    examples = [
        Example("a", "the cat sat on the mat today", "the cat slept"),
        Example("b", "one two three four five six", "one two", ("one two", "three four")),
    ]
    found = describe_split(examples)
    assert found.compression_mean == pytest.approx((7 / 3 + 6 / 2) / 2)
    assert found.references_per_example == 1.5
    assert found.novel_ngrams["1"] == pytest.approx((100 / 3 + 0) / 2)
    assert found.novel_ngrams["2"] == pytest.approx((50 + 0) / 2)
    assert found.novel_ngrams["3"] == 100  # the second summary has no run of three words
    assert "4" not in found.novel_ngrams
    assert found.document_tokens is None
    assert recommend(found) is None


def test_token_lengths_are_the_tokenizers(demo: list[Example], tokenizer_directory: Path) -> None:
    found = describe_split(demo[:20], _form(tokenizer_directory, 4096))
    reference = AutoTokenizer.from_pretrained(str(tokenizer_directory))
    counts = [len(reference(example.document, add_special_tokens=False)["input_ids"]) for example in demo[:20]]
    assert found.document_tokens is not None
    assert found.document_tokens.mean == pytest.approx(np.mean(counts))


def test_what_would_be_cut_is_what_the_encoder_cuts(demo: list[Example], tokenizer_directory: Path) -> None:
    median = describe_split(demo, _form(tokenizer_directory, 8192)).document_tokens
    assert median is not None
    form = _form(tokenizer_directory, int(median.median) + 150, max_summary_tokens=100)
    fit = describe_split(demo, form).fit
    assert fit is not None
    _, report = encode_examples(demo, form)
    assert 0 < report.cut_examples < report.examples < len(demo), "the limits must bite"
    assert fit.cut_examples == pytest.approx(report.cut_examples / len(demo))
    assert fit.long_summaries == pytest.approx(len(report.long_summaries) / len(demo))
    total = sum(map(len, form.tokenizer.encode_texts([example.document for example in demo])))
    assert fit.cut_tokens == pytest.approx(report.cut_tokens / total)


def test_the_recommended_lengths_keep_what_they_promise(demo: list[Example], tokenizer_directory: Path) -> None:
    advice = recommend(describe_split(demo, _form(tokenizer_directory, 256)))
    assert advice is not None
    form = _form(tokenizer_directory, advice.max_length, advice.max_summary_tokens, advice.max_document_tokens)
    fit = describe_split(demo, form).fit
    assert fit is not None
    assert fit.cut_examples <= 0.05
    assert fit.long_summaries <= 0.01
    assert (advice.max_document_tokens % 32, advice.max_summary_tokens % 8, advice.max_length % 32) == (0, 0, 0)


def test_empty_splits_are_left_out(demo: list[Example]) -> None:
    assert list(describe({"train": demo[:3], "dev": [], "test": demo[3:4]})) == ["train", "test"]
