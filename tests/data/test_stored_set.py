"""A training set prepared on disk equals the one prepared in memory, and goes on where it was interrupted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from common.data import sources, stored_set
from common.data.batching import plan_epoch, token_counts
from common.data.encode import encode_examples
from common.data.prompts import BUILT_IN, PromptFormat
from common.data.sources import load_splits
from common.data.stored_set import StoredSet, store_training_file
from common.data.token_store import TokenStore, part_path
from common.errors import DataError
from common.files import remove
from common.model.tokenizer import load_tokenizer
from common.run.preparation import prepare
from common.settings import DataSettings, ModelSettings, PromptSettings, RunConfig
from common.types import EncodedExample, Example
from tests.tiny_models import build_tiny_tokenizer
from tests.tiny_runs import build_tiny_base

ROWS, PART = 50, 8


@pytest.fixture(scope="module")
def form(tmp_path_factory: pytest.TempPathFactory) -> PromptFormat:
    tokenizer = load_tokenizer(build_tiny_tokenizer(tmp_path_factory.mktemp("tokenizer")))
    return PromptFormat(BUILT_IN["direct"], tokenizer, max_length=96, max_summary_tokens=24)


def row(number: int) -> dict[str, str]:
    words = " ".join(f"word{number}x{place}" for place in range(4 + number % 19))
    return {"id": f"r{number}", "document": f"  The town hall said {words}.", "summary": f"Hall said {number}."}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """50 rows: one a duplicate of an earlier part's, one too short, one no JSON, one with too long a summary."""
    rows = [row(number) for number in range(ROWS)]
    rows[40] = {**row(3), "id": "again"}
    rows[21] = {"id": "short", "document": "Two words", "summary": "x"}
    rows[30]["summary"] = "long " * 60
    lines = [json.dumps(values) for values in rows]
    lines[12] = "{not json"
    path = tmp_path / "train.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def store(source: Path, form: PromptFormat, held_out: tuple[Example, ...] = ()) -> StoredSet:
    return store_training_file(source, DataSettings(), form, source.parent / "store", held_out, PART)


def same(ours: EncodedExample, theirs: EncodedExample) -> bool:
    return (
        ours.id == theirs.id
        and np.array_equal(ours.tokens, theirs.tokens)
        and np.array_equal(ours.labels, theirs.labels)
    )


def test_the_stored_examples_and_counts_are_those_of_the_set_in_memory(source: Path, form: PromptFormat) -> None:
    (source.parent / "dev.jsonl").write_text(json.dumps(row(99)) + "\n", encoding="utf-8")
    splits = load_splits(DataSettings(data=str(source.parent)), seed=0)
    wanted, report = encode_examples(splits.train, form)
    stored = store(source, form)
    assert len(stored.examples) == len(wanted) == ROWS - 4
    assert all(same(ours, theirs) for ours, theirs in zip(stored.examples, wanted, strict=True))
    assert same(stored.examples[-1], wanted[-1])
    assert [example.id for example in stored.examples[5:9]] == [example.id for example in wanted[5:9]]
    assert stored.encode_report == report
    assert stored.data_report.count("exact duplicates") == splits.report.count("exact duplicates") == 1
    assert stored.data_report.bad_row_count == 1
    assert "line 13" in str(stored.data_report.bad_rows[0])
    assert stored.data_report.rows_read == ROWS


def test_an_epoch_over_the_store_is_the_epoch_over_the_examples(source: Path, form: PromptFormat) -> None:
    stored = store(source, form).examples
    assert plan_epoch(stored, 4, seed=1, epoch=2) == plan_epoch(list(stored), 4, seed=1, epoch=2)
    assert token_counts(stored).tolist() == [len(example) for example in stored]
    with pytest.raises(IndexError):
        stored[len(stored)]


def test_an_interrupted_preparation_goes_on_behind_its_last_part(
    source: Path, form: PromptFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = list(store(source, form).examples)
    (folder,) = (source.parent / "store").iterdir()
    for number in (3, 4, 5, 6):
        remove(part_path(folder, number))
    (folder / "complete.json").unlink()
    made: list[int] = []
    write = stored_set.write_part
    monkeypatch.setattr(stored_set, "write_part", lambda *given: (made.append(given[1]), write(*given)))
    again = store(source, form)
    assert made == [3, 4, 5, 6]
    assert len(again.examples) == len(whole)
    assert all(same(ours, theirs) for ours, theirs in zip(again.examples, whole, strict=True))
    assert again.data_report.count("exact duplicates") == 1  # its first copy lies in a part made before
    made.clear()
    store(source, form)
    assert made == []


def test_another_file_or_prompt_makes_another_store(source: Path, form: PromptFormat) -> None:
    first = store(source, form)
    assert store(source, form).key == first.key
    other = PromptFormat(BUILT_IN["simple"], form.tokenizer, max_length=96, max_summary_tokens=24)
    with source.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row(77)) + "\n")
    grown = store(source, form)
    assert grown.key != first.key
    assert len(grown.examples) == len(first.examples) + 1
    assert store(source, other).key != grown.key


def test_copies_of_held_out_documents_are_dropped_and_counted(source: Path, form: PromptFormat) -> None:
    held_out = (Example("dev", row(9)["document"].upper(), "x"),)
    stored = store(source, form, held_out)
    assert len(stored.examples) == ROWS - 5
    assert stored.data_report.count("held-out") == 1
    assert "r9" not in {example.id for example in stored.examples}


def test_a_damaged_part_is_named_with_the_remedy(source: Path, form: PromptFormat) -> None:
    store(source, form)
    (folder,) = (source.parent / "store").iterdir()
    (part_path(folder, 2) / "tokens.npy").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"part-000002.*delete"):
        store(source, form)


def test_a_large_training_file_is_prepared_on_disk_to_the_same_run(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = build_tiny_base(tmp_path / "model")
    (source.parent / "dev.jsonl").write_text(json.dumps(row(99)) + "\n", encoding="utf-8")
    monkeypatch.setenv("SUMKIT_CACHE", str(tmp_path / "cache"))
    config = RunConfig(
        data=DataSettings(data=str(source.parent)),
        model=ModelSettings(model=str(base)),
        prompt=PromptSettings(max_length=96, max_summary_tokens=24),
    )
    usual = prepare(config)
    assert not isinstance(usual.train_set, TokenStore)
    monkeypatch.setattr(sources, "LARGE_BYTES", 1)
    large = prepare(config)
    assert isinstance(large.train_set, TokenStore)
    assert all(same(ours, theirs) for ours, theirs in zip(large.train_set, usual.train_set, strict=True))
    assert large.splits.report.used == usual.splits.report.used
    assert large.data_fingerprint != usual.data_fingerprint
