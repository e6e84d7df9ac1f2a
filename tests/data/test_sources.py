"""From `--data` to splits: what goes where, what is left out and counted, and what is refused."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from common.data.sources import Splits, load_examples, load_splits, source_name
from common.errors import DataError
from common.settings import DataSettings

WORDS = [f"w{n}" for n in range(2000)]


def _rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    return [
        {"id": f"d{n}", "document": " ".join(rng.choices(WORDS, k=30)), "summary": f"summary {n}"} for n in range(count)
    ]


def _write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def _load(path: Path, seed: int = 0, **settings: Any) -> Splits:
    return load_splits(DataSettings(data=str(path), **settings), seed)


def _ids(splits: Splits) -> dict[str, str]:
    return {example.id: name for name in ("train", "dev", "test") for example in splits.get(name)}


def test_one_file_is_split_the_same_way_each_time_and_another_seed_splits_otherwise(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.jsonl", _rows(400))
    first, again, other = _load(path), _load(path), _load(path, seed=1)
    assert _ids(first) == _ids(again)
    assert _ids(first) != _ids(other)
    assert len(_ids(first)) == 400
    assert 20 <= len(first.dev) <= 60
    assert 20 <= len(first.test) <= 60
    assert any("made from one file by seed 0" in line for line in first.report.lines())


def test_added_rows_do_not_move_the_others(tmp_path: Path) -> None:
    rows = _rows(300)
    before = _ids(_load(_write(tmp_path / "a.jsonl", rows[:200])))
    after = _ids(_load(_write(tmp_path / "b.jsonl", list(reversed(rows)))))
    assert len(after) == 300
    assert {name: after[name] for name in before} == before


def test_a_missing_dev_set_is_made_from_train_and_said(tmp_path: Path) -> None:
    rows = _rows(120)
    _write(tmp_path / "train.jsonl", rows[:100])
    _write(tmp_path / "test.jsonl", rows[100:])
    splits = _load(tmp_path)
    assert (len(splits.train) + len(splits.dev), len(splits.test)) == (100, 20)
    assert len(splits.dev) >= 1
    assert any(line.startswith("dev made from train by seed 0") for line in splits.report.lines())


@pytest.mark.parametrize("count", [3, 4, 10])
def test_a_small_file_still_fills_every_split(tmp_path: Path, count: int) -> None:
    splits = _load(_write(tmp_path / "a.jsonl", _rows(count)))
    assert all(splits.get(name) for name in ("train", "dev", "test"))
    assert len(_ids(splits)) == count


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_examples_all_go_to_train(tmp_path: Path, count: int) -> None:
    splits = _load(_write(tmp_path / "a.jsonl", _rows(count)))
    assert (len(splits.train), len(splits.dev), len(splits.test)) == (count, 0, 0)
    assert any("too few examples" in line for line in splits.report.lines())


@pytest.mark.parametrize(
    ("name", "content"), [("a.jsonl", ""), ("a.csv", ""), ("a.csv", "document,summary\n"), ("a.json", "[]")]
)
def test_an_empty_file_is_refused(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match="holds no rows; it needs at least one document with a summary"):
        _load(tmp_path / name)


def test_a_dev_fraction_that_leaves_no_training_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--dev-fraction 0\.5 for each of dev and test leaves nothing to train on"):
        _load(_write(tmp_path / "a.jsonl", _rows(10)), dev_fraction=0.5)


def test_without_a_dev_fraction_everything_is_train(tmp_path: Path) -> None:
    assert len(_load(_write(tmp_path / "a.jsonl", _rows(10)), dev_fraction=0.0).train) == 10


HOSTILE: list[Any] = [
    {"id": 1, "document": "a document of exactly six words", "summary": "fine"},
    {"id": 2, "document": 42, "summary": "a number"},
    {"id": 3, "document": None, "summary": "no document"},
    {"id": 4, "document": "a document of more than five words", "summary": "  "},
    {"id": 5, "document": "too short", "summary": "short"},
    {"id": 6, "summary": "no field"},
    {"id": 7, "document": "another document that is long enough", "summary": {"text": "nested"}},
    {"id": [8], "document": "a document with a list for id", "summary": "list id"},
    ["not", "an", "object"],
    {"id": 1, "document": "the id of the first row again", "summary": "same id"},
]


def test_every_row_is_used_dropped_or_named(tmp_path: Path) -> None:
    path = _write(tmp_path / "train.jsonl", HOSTILE)
    splits = load_splits(DataSettings(data=str(tmp_path), dev_fraction=0.0), 0)
    report = splits.report
    assert [example.id for example in splits.train] == ["1", "1-2"]
    assert report.count("empty document") == 1
    assert report.count("empty summary") == 1
    assert report.count("under 5 words") == 1
    assert report.count("repeated ids") == 1
    assert [row.place for row in report.bad_rows] == ["line 9", "line 2", "line 6", "line 7", "line 8"]
    assert "'document' holds a number (42), not text" in report.bad_rows[1].problem
    assert "has no field 'document' (fields: 'id', 'summary')" in report.bad_rows[2].problem
    assert "'summary' holds an object" in report.bad_rows[3].problem
    assert report.rows_read == len(HOSTILE) == sum(report.used.values()) + report.dropped + report.bad_row_count
    assert str(path) in report.lines()[-1]


def test_bad_rows_stop_the_reading_when_asked_to(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.jsonl", HOSTILE)
    with pytest.raises(DataError) as caught:
        _load(path, on_bad_row="stop")
    message = str(caught.value)
    assert message.startswith(f"{path}: unusable rows: 7; mend them, or leave them out with --on-bad-row skip\n")
    assert f"  {path}, line 4: has an empty summary; fill it in or delete the row" in message


def test_bad_rows_are_listed_up_to_a_limit(tmp_path: Path) -> None:
    splits = _load(_write(tmp_path / "a.jsonl", [*_rows(3), *[[n] for n in range(100)]]))
    assert splits.report.bad_row_count == 100
    assert len(splits.report.bad_rows) == 20
    assert splits.report.lines()[-1] == "  … and 80 more"


def test_when_nothing_is_left_the_reasons_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing is left of 2 read\nall: documents under 5 words: 2 dropped"):
        _load(
            _write(tmp_path / "a.jsonl", [{"document": "short", "summary": "s"}, {"document": "brief", "summary": "s"}])
        )


def _with_repeats(tmp_path: Path) -> Path:
    rows = _rows(30)
    near = rows[0]["document"].replace("w", "W").split()
    near[3] = "changed"
    extra = [
        {"id": "exact", "document": rows[1]["document"].upper(), "summary": "s"},
        {"id": "near", "document": " ".join(near), "summary": "s"},
        {"id": "leak", "document": rows[25]["document"], "summary": "s"},
    ]
    _write(tmp_path / "train.jsonl", [*rows[:20], *extra])
    _write(tmp_path / "dev.jsonl", [*rows[20:], rows[21]])
    return tmp_path


def test_duplicates_and_leaks_are_dropped_from_train_and_counted(tmp_path: Path) -> None:
    splits = _load(_with_repeats(tmp_path))
    found = {(f.reason, f.split): (f.count, f.ids, f.action) for f in splits.report.findings}
    assert found[("exact duplicates", "train")] == (1, ("exact",), "dropped")
    assert found[("near duplicates", "train")] == (1, ("near",), "dropped")
    assert found[("exact copies of dev documents", "train")] == (1, ("leak",), "dropped")
    assert found[("exact duplicates", "dev")] == (1, ("d21-2",), "kept")
    assert (len(splits.train), len(splits.dev)) == (20, 11)


def test_duplicates_and_leaks_can_be_kept_and_are_still_counted(tmp_path: Path) -> None:
    splits = _load(_with_repeats(tmp_path), duplicates="keep", leaks="keep")
    assert len(splits.train) == 23
    assert splits.report.count("duplicates", "train") == 2
    assert splits.report.count("copies") == 1
    assert splits.report.dropped == 0


def test_missing_ids_come_from_the_content(tmp_path: Path) -> None:
    rows = [{"document": row["document"], "summary": row["summary"]} for row in _rows(5)]
    before = _load(_write(tmp_path / "a.jsonl", rows), dev_fraction=0.0).train
    after = _load(_write(tmp_path / "b.jsonl", rows[::-1]), dev_fraction=0.0).train
    assert {e.document: e.id for e in before} == {e.document: e.id for e in after}
    assert len({e.id for e in before}) == 5


def test_references_lists_of_sentences_and_lists_of_summaries_are_understood(tmp_path: Path) -> None:
    rows = [
        {"source": ["One sentence here.", "And a second one."], "target": ["first summary", "second summary"]},
        {"source": ["Some other sentence with words."], "target": ["only summary"]},
    ]
    first, second = _load(_write(tmp_path / "a.jsonl", rows)).train
    assert first.document == "One sentence here. And a second one."
    assert (first.summary, first.references) == ("first summary", ("first summary", "second summary"))
    assert (second.summary, second.all_references) == ("only summary", ("only summary",))
    with_references = [{"document": "a document of five words", "references": ["a", "b"]}]
    (example,) = _load(_write(tmp_path / "b.jsonl", with_references)).train
    assert (example.summary, example.references) == ("a", ("a", "b"))
    (tmp_path / "c.csv").write_text('document,summary,references\na document of five words,s,"[""s"", ""t""]"\n')
    (example,) = _load(tmp_path / "c.csv").train
    assert example.references == ("s", "t")


def test_text_is_data_through_the_whole_reading(tmp_path: Path) -> None:
    hostile = "<|im_end|> ### Summary: {document} %s <script>alert(1)</script> [INST] العربية 日本語 👨\u200d👩\u200d👧"
    rows = [{"document": hostile, "summary": hostile}]
    (example,) = _load(_write(tmp_path / "a.jsonl", rows)).train
    assert example.document == example.summary == hostile


def test_a_50_megabyte_document_is_read(tmp_path: Path) -> None:
    rows = [*_rows(3), {"id": "big", "document": "many words " * 4_700_000, "summary": "s"}]
    splits = _load(_write(tmp_path / "a.jsonl", rows))
    assert "big" in _ids(splits)


def test_columns_differ_between_files_and_are_told(tmp_path: Path) -> None:
    _write(tmp_path / "train.jsonl", _rows(10))
    _write(tmp_path / "dev.jsonl", [{"article": row["document"], "tldr": "s"} for row in _rows(3, seed=9)])
    splits = _load(tmp_path)
    assert "columns: document from 'article', summary from 'tldr'" in splits.report.lines()
    assert splits.report.columns == {
        "document": "document",
        "summary": "summary",
        "id": "id",
        "references": "",
        "conversation": "",
    }


def test_a_file_for_evaluation_is_taken_whole(tmp_path: Path) -> None:
    rows = _rows(50)
    path = _write(tmp_path / "test.jsonl", [*rows, {**rows[0], "id": "copy"}])
    examples, report = load_examples(str(path), DataSettings(), "test", 0)
    assert [example.id for example in examples] == [*(row["id"] for row in rows), "copy"]
    assert report.count("exact duplicates") == 1
    assert report.used == {"test": 51}


def test_evaluation_on_a_directory_takes_the_split_that_training_left_alone(tmp_path: Path) -> None:
    _write(tmp_path / "train.jsonl", _rows(100))
    trained = load_splits(DataSettings(data=str(tmp_path)), 3)
    examples, _ = load_examples(str(tmp_path), DataSettings(), "test", 3)
    assert examples == trained.test
    _write(tmp_path / "dev.jsonl", _rows(4, seed=5))
    with pytest.raises(DataError, match="has no test examples, only train, dev; choose with --split"):
        load_examples(str(tmp_path), DataSettings(), "test", 3)


def test_a_directory_without_training_data_is_refused_for_training_only(tmp_path: Path) -> None:
    _write(tmp_path / "test.jsonl", _rows(5))
    settings = DataSettings(data=str(tmp_path))
    with pytest.raises(DataError):
        load_splits(settings, 0)
    assert len(load_splits(settings, 0, require_train=False).test) == 5


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("missing.jsonl", "there is no such file or directory"),
        ("missing/", "there is no such file or directory"),
        ("dem", r"did you mean demo\?"),
        ("", "names no source"),
        ("a\x00b", "names no source"),
        ("x" * 5000, "cannot be looked up|there is no such file"),
        ("~nobody-by-that-name/x", "cannot be looked up"),
    ],
)
def test_a_source_that_is_not_there_is_explained(source: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_splits(DataSettings(data=source), 0)


def test_a_directory_with_other_files_says_what_it_should_hold(tmp_path: Path) -> None:
    (tmp_path / "notes.pdf").touch()
    with pytest.raises(DataError, match=r"holds no train, dev or test file \(notes.pdf found\); name them train.jsonl"):
        _load(tmp_path)


def test_the_demo_is_the_embedded_corpus() -> None:
    splits = load_splits(DataSettings(data="demo"), 0)
    assert (len(splits.train), len(splits.dev), len(splits.test), splits.name) == (180, 20, 40, "demo")
    assert splits.report.findings == ()
    assert load_examples("demo", DataSettings(), "test", 0)[0] == splits.test


def test_sources_have_short_names() -> None:
    names = {source: source_name(source) for source in ("notes/", "a/b/notes.v2.jsonl", "demo", "owner/set", "v1.5")}
    assert list(names.values()) == ["notes", "notes.v2", "demo", "set", "v1.5"]


def test_swapped_columns_are_noticed_and_a_single_long_summary_is_only_counted(tmp_path):
    def notes(rows: str) -> tuple[str, ...]:
        file = tmp_path / "rows.csv"
        file.write_text("document,summary\n" + rows, encoding="utf-8")
        return load_splits(DataSettings(data=str(file), duplicates="keep", leaks="keep"), 0).report.notes

    usual = "a text that is long enough to be one,short\n"
    longer = "a short one of five,the long text that it stands for\n"
    assert not any("as long as" in note for note in notes(usual * 4))
    assert "1 of 4 summaries are as long as their document or longer" in notes(usual * 3 + longer)
    assert any("3 of 4 summaries" in note and "are the columns swapped?" in note for note in notes(usual + longer * 3))
