"""Every format is read row by row; what is broken is named with its line and the rest survives."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from common.data.files import read_table, split_files
from common.data.table import Table
from common.errors import DataError

ROWS = [{"id": str(n), "document": f"Document {n}, «café» 日本", "summary": f"Sum {n}"} for n in range(3)]


def _jsonl(rows: list[dict[str, str]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def _read(path: Path, content: bytes) -> Table:
    path.write_bytes(content)
    return read_table(path)


def _values(table: Table) -> list[dict[str, str]]:
    return [row.values for row in table.rows]


def test_every_format_gives_the_same_rows(tmp_path: Path) -> None:
    header = "id,document,summary\n"
    csv = header + "".join(f'{row["id"]},"{row["document"]}",{row["summary"]}\n' for row in ROWS)
    contents = {
        "a.jsonl": _jsonl(ROWS),
        "a.json": json.dumps(ROWS).encode(),
        "wrapped.json": json.dumps({"version": 2, "data": ROWS}).encode(),
        "lines.json": _jsonl(ROWS),
        "a.csv": csv.encode(),
        "a.tsv": csv.replace('"', "").replace(", «", "; «").replace(",", "\t").replace("; «", ", «").encode(),
    }
    for name, content in contents.items():
        table = _read(tmp_path / name, content)
        assert _values(table) == ROWS, name
        assert table.columns == ["id", "document", "summary"]
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    assert _values(read_table(tmp_path / "a.parquet")) == ROWS


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_byte_order_mark_and_windows_line_ends_do_not_matter(tmp_path: Path, kind: str) -> None:
    plain = _jsonl(ROWS) if kind == "jsonl" else b"id,document,summary\n1,one document,sum\n"
    expected = _values(_read(tmp_path / f"plain.{kind}", plain))
    assert len(expected) >= 1
    windows = b"\xef\xbb\xbf" + plain.replace(b"\n", b"\r\n")
    assert _values(_read(tmp_path / f"windows.{kind}", windows)) == expected


def test_a_broken_json_line_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    lines = [
        b'{"document": "a"}',
        b'{"document": ',
        b"[1, 2]",
        b'{"document": "caf\xe9"}',
        b"",
        b"\x00",
        b'{"document": "b"}',
    ]
    table = _read(tmp_path / "a.jsonl", b"\n".join(lines))
    assert [row.place for row in table.rows] == ["line 1", "line 7"]
    assert [bad.place for bad in table.bad] == ["line 2", "line 3", "line 4", "line 6"]
    assert "not valid JSON" in table.bad[0].problem
    assert "a list" in table.bad[1].problem
    assert "not UTF-8 (byte 0xe9" in table.bad[2].problem
    assert str(table.bad[0]).startswith(f"{tmp_path / 'a.jsonl'}, line 2: ")


def test_deep_nesting_and_endless_numbers_are_bad_rows(tmp_path: Path) -> None:
    content = b"[" * 100_000 + b"\n" + b'{"id": ' + b"1" * 5000 + b"}\n" + b'{"document": "fine"}\n'
    table = _read(tmp_path / "a.jsonl", content)
    assert len(table.rows) == 1
    assert len(table.bad) == 2


def test_csv_keeps_line_breaks_delimiters_and_quotes_inside_quoted_fields(tmp_path: Path) -> None:
    table = _read(tmp_path / "a.csv", b'document,summary\n"line one\nline ""two"", still","a, b"\nnext,row\n')
    assert _values(table)[0] == {"document": 'line one\nline "two", still', "summary": "a, b"}
    assert [row.place for row in table.rows] == ["line 2", "line 4"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_finds_its_delimiter_in_the_header(tmp_path: Path, delimiter: str) -> None:
    content = f"document{delimiter}summary\na document, long{';' if delimiter == ',' else ''}{delimiter}sum\n"
    if delimiter == ",":
        content = 'document,summary\n"a document, long;",sum\n'
    assert _read(tmp_path / "a.csv", content.encode()).rows[0].values["summary"] == "sum"


def test_a_spreadsheets_csv_may_name_its_separator_and_have_columns_without_a_name(tmp_path: Path) -> None:
    table = _read(tmp_path / "a.csv", "\ufeffsep=;\r\ndocument;summary;;\r\nLang, sehr lang;kurz;;\r\n".encode())
    assert [(row.place, row.values) for row in table.rows] == [
        ("line 3", {"document": "Lang, sehr lang", "summary": "kurz", "column 3": "", "column 4": ""})
    ]
    assert _read(tmp_path / "a.csv", b"sep=;\n").rows == []


def test_ragged_csv_rows_are_named(tmp_path: Path) -> None:
    table = _read(tmp_path / "a.csv", b"document,summary\na,b\nonly one\na,b,c\nc,d\n")
    assert [row.values["document"] for row in table.rows] == ["a", "c"]
    assert [(bad.place, bad.problem.split(";")[0]) for bad in table.bad] == [
        ("line 3", "has 1 fields where the header has 2"),
        ("line 4", "has 3 fields where the header has 2"),
    ]


def test_an_unclosed_quote_costs_its_own_row_only(tmp_path: Path) -> None:
    table = _read(tmp_path / "a.csv", b'document,summary\na,b\n"never closed,b\nc,d\ne,f\n')
    assert [row.values["document"] for row in table.rows] == ["a", "c", "e"]
    assert [bad.place for bad in table.bad] == ["line 3"]
    assert "never closed" in table.bad[0].problem


def test_a_file_full_of_unclosed_quotes_is_refused_in_time(tmp_path: Path) -> None:
    pattern = b'b,b""\nb",,,"\n,\n'  # every second line opens a quote that stays open up to the end of the file
    with pytest.raises(DataError, match="quotes are never closed; export the file again"):
        _read(tmp_path / "a.csv", b"document,summary\n" + pattern * 5_000)


def test_a_csv_row_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    table = _read(tmp_path / "a.csv", b"document,summary\ncaf\xe9,b\ncafe,b\n")
    assert len(table.rows) == 1
    assert "not UTF-8 (byte 0xe9 at position 4)" in str(table.bad[0])


def test_equal_column_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="two columns are named 'text'"):
        _read(tmp_path / "a.csv", b"text,text\na,b\n")


def test_utf16_is_refused_with_the_remedy(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.json", "a.csv"):
        with pytest.raises(DataError, match="save it as UTF-8"):
            _read(tmp_path / name, "document,summary\n".encode("utf-16"))


def test_parquet_rows_that_are_not_utf8_are_bad_rows(tmp_path: Path) -> None:
    good, bad = b"fine text", b"caf\xe9"
    offsets = pyarrow.py_buffer(b"".join(n.to_bytes(4, "little") for n in (0, len(good), len(good) + len(bad))))
    column = pyarrow.StringArray.from_buffers(2, offsets, pyarrow.py_buffer(good + bad))
    parquet.write_table(pyarrow.table({"document": column}), tmp_path / "a.parquet")
    table = read_table(tmp_path / "a.parquet")
    assert _values(table) == [{"document": "fine text"}]
    assert [bad_row.place for bad_row in table.bad] == ["row 2"]


def test_a_damaged_parquet_file_is_refused(tmp_path: Path) -> None:
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    content = (tmp_path / "a.parquet").read_bytes()
    for damaged in (content[:-20], b"", b"PAR1" + content[40:]):
        with pytest.raises(DataError, match="not a readable Parquet file"):
            _read(tmp_path / "b.parquet", damaged)


def test_texts_in_a_folder_are_paired_with_their_summaries(tmp_path: Path) -> None:
    files = {
        "a.txt": "One.",
        "a.summary.txt": "1",
        "b.md": "Two.",
        "b.summary.md": "2",
        "c.txt": "Three.",
        "d.summary.txt": "4",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    table = read_table(tmp_path)
    assert [(row.values["id"], row.values["document"], row.values["summary"]) for row in table.rows] == [
        ("a", "One.", "1"),
        ("b", "Two.", "2"),
    ]
    assert [(bad.place, bad.problem.split(";")[0]) for bad in table.bad] == [
        ("c.txt", "has no summary"),
        ("d.summary.txt", "has no document"),
    ]


def test_numbered_parts_belong_to_one_split_and_rival_files_are_refused(tmp_path: Path) -> None:
    for name in (
        "train-00000-of-00002.jsonl",
        "train-00001-of-00002.jsonl",
        "validation.csv",
        "Test.json",
        "notes.txt",
    ):
        (tmp_path / name).touch()
    found = {split: [path.name for path in paths] for split, paths in split_files(tmp_path).items()}
    assert found == {
        "train": ["train-00000-of-00002.jsonl", "train-00001-of-00002.jsonl"],
        "dev": ["validation.csv"],
        "test": ["Test.json"],
    }
    (tmp_path / "valid.jsonl").touch()
    with pytest.raises(DataError, match=r"several files claim to be dev \(valid.jsonl, validation.csv\)"):
        split_files(tmp_path)


def test_what_is_no_regular_file_or_no_known_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.docx").touch()
    with pytest.raises(DataError, match=r"files ending in .docx are not supported; use .jsonl"):
        read_table(tmp_path / "a.docx")
    with pytest.raises(DataError, match="there is no such file"):
        read_table(tmp_path / "missing.jsonl")
