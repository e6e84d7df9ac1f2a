"""Whatever a file holds, reading it gives examples or a plain DataError: no other exception, no row unaccounted for.

Random bytes, random rows of random types, and mutations of good files, over every format. The `slow` tests run the
same properties over 20,000 mutations and several thousand generated files.
"""

from __future__ import annotations

import csv
import io
import json
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from common.cli.main import group, run
from common.data.cleaning import clean_text
from common.data.sources import load_splits
from common.data.statistics import describe, to_dict
from common.errors import DataError
from common.settings import DataSettings

KINDS = ("jsonl", "json", "csv", "tsv", "parquet")
RELAXED = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}

any_text = st.text(alphabet=st.characters(codec=None), max_size=40)
json_value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(any_text, inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from(["id", "document", "summary", "references", "text", "tldr"]) | any_text
json_rows = st.lists(st.dictionaries(names, json_value, max_size=5) | json_value, max_size=8)
csv_cell = any_text.map(lambda text: text.encode("utf-8", "ignore").decode())
csv_rows = st.lists(st.lists(csv_cell, max_size=4), max_size=8)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


def check(path: Path, on_bad_row: Literal["skip", "stop"] = "skip") -> bool:
    """Read a file; True where it gave examples. Fails on any exception but a DataError with something to say."""
    try:
        splits = load_splits(DataSettings(data=str(path), on_bad_row=on_bad_row, min_document_words=1), 0)
    except DataError as error:
        message = str(error)
        assert path.name in message
        assert "Traceback" not in message
        assert not any(ord(c) < 32 and c != "\n" for c in message), "control characters reach the terminal"
        return False
    report = splits.report
    assert report.rows_read == sum(report.used.values()) + report.dropped + report.bad_row_count
    sets = {name: splits.get(name) for name in ("train", "dev", "test")}
    for examples in sets.values():
        assert len({example.id for example in examples}) == len(examples)
        for example in examples:
            for text in (example.id, example.document, example.summary, *example.references):
                assert text
                assert clean_text(text) == text or text is example.id
                text.encode("utf-8")
    assert not any(ord(c) < 32 for line in report.lines() for c in line), "control characters reach the terminal"
    json.dumps({"report": report.to_dict(), "splits": to_dict(describe(sets))}, allow_nan=False)
    return True


def good_files() -> dict[str, bytes]:
    """A sound file of each kind."""
    rows = [
        {"id": f"n{n}", "document": f'Document "{n}", with a café;\nand a second line of words', "summary": f"Sum {n}."}
        for n in range(12)
    ]
    files = {
        "jsonl": "".join(json.dumps(row, ensure_ascii=n % 2 == 0) + "\n" for n, row in enumerate(rows)).encode(),
        "json": json.dumps({"data": rows}).encode(),
    }
    for kind, delimiter in (("csv", ","), ("tsv", "\t")):
        out = io.StringIO()
        writer = csv.writer(out, delimiter=delimiter)
        writer.writerow(rows[0])
        writer.writerows(row.values() for row in rows)
        files[kind] = out.getvalue().encode()
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.Table.from_pylist(rows), sink)
    files["parquet"] = sink.getvalue().to_pybytes()
    return files


def mutated(rng: random.Random, content: bytes) -> bytes:
    """The content with a few bytes changed, removed, inserted or cut off, or a part repeated."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4, 12))):
        place = rng.randrange(len(data) + 1)
        action = rng.randrange(6)
        if action == 0 and place < len(data):
            data[place] = rng.randrange(256)
        elif action == 1:
            del data[place : place + rng.randrange(1, 9)]
        elif action == 2:
            data[place:place] = rng.choice(
                (b"\x00", b'"', b"\n", b",", b"\xff", b"{", b"[", b"\\ud800", b"\xef\xbb\xbf")
            )
        elif action == 3:
            data[place:place] = rng.randbytes(rng.randrange(1, 6))
        elif action == 4 and rng.random() < 0.2:
            del data[place:]
        else:
            data[place:place] = data[place : place + rng.randrange(1, 60)]
    return bytes(data)


def fuzz_mutations(folder: Path, kind: str, cases: int, seed: int) -> int:
    """Read `cases` mutations of a sound file. Returns how many still gave examples."""
    rng = random.Random(f"{kind}{seed}")
    content, path = good_files()[kind], folder / f"mutated.{kind}"
    usable = 0
    for _ in range(cases):
        path.write_bytes(mutated(rng, content))
        usable += check(path, rng.choice(("skip", "skip", "stop")))
    return usable


@pytest.mark.parametrize("kind", KINDS)
def test_sound_files_pass_the_same_check(folder: Path, kind: str) -> None:
    path = folder / f"sound.{kind}"
    path.write_bytes(good_files()[kind])
    assert check(path, "stop")


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_files_give_examples_or_a_plain_error(folder: Path, kind: str) -> None:
    usable = fuzz_mutations(folder, kind, cases=150, seed=1)
    assert 0 < usable < 150, "mutations must be neither harmless nor always fatal"


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_many_mutated_files_give_examples_or_a_plain_error(folder: Path, kind: str) -> None:
    assert fuzz_mutations(folder, kind, cases=4_000, seed=2) > 0


def _bytes_case(folder: Path, kind: str, content: bytes) -> None:
    path = folder / f"bytes.{kind}"
    path.write_bytes(content)
    check(path)


def _json_case(folder: Path, rows: list[Any]) -> None:
    lines, whole = folder / "rows.jsonl", folder / "rows.json"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    whole.write_text(json.dumps(rows), encoding="utf-8")
    check(lines)
    check(whole)


def _csv_case(folder: Path, rows: list[list[str]], header: str) -> None:
    path = folder / "rows.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(header)
        csv.writer(file).writerows(rows)
    check(path)


FEW = settings(max_examples=120, **RELAXED)  # type: ignore[arg-type]
MANY = settings(max_examples=2_000, **RELAXED)  # type: ignore[arg-type]
kinds = st.sampled_from(KINDS)
headers = st.sampled_from(["", "document,summary\n", "\ufeffid;document;summary\n", '"document","summary"\r\n'])


@given(kind=kinds, content=st.binary(max_size=300))
@FEW
def test_random_bytes(folder: Path, kind: str, content: bytes) -> None:
    _bytes_case(folder, kind, content)


@given(rows=json_rows)
@FEW
def test_random_json_rows(folder: Path, rows: list[Any]) -> None:
    _json_case(folder, rows)


@given(rows=csv_rows, header=headers)
@FEW
def test_random_csv_rows(folder: Path, rows: list[list[str]], header: str) -> None:
    _csv_case(folder, rows, header)


@pytest.mark.slow
@given(kind=kinds, content=st.binary(max_size=2000))
@MANY
def test_many_random_bytes(folder: Path, kind: str, content: bytes) -> None:
    _bytes_case(folder, kind, content)


@pytest.mark.slow
@given(rows=json_rows)
@MANY
def test_many_random_json_rows(folder: Path, rows: list[Any]) -> None:
    _json_case(folder, rows)


@pytest.mark.slow
@given(rows=csv_rows, header=headers)
@MANY
def test_many_random_csv_rows(folder: Path, rows: list[list[str]], header: str) -> None:
    _csv_case(folder, rows, header)


@pytest.mark.parametrize("content", [b"", b"\x00" * 40, b"\xff\xfe{\x00", b"[[[", b"document,summary\n\x1b[31m,x\n"])
def test_the_command_ends_with_one_or_zero_and_no_traceback(
    folder: Path, content: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    for kind in KINDS:
        path = folder / f"command.{kind}"
        path.write_bytes(content)
        assert run(group, ["data", str(path)]) in (0, 1)
        printed = capfd.readouterr()
        assert "Traceback" not in printed.out + printed.err
        assert "\x1b[31m" not in printed.out + printed.err
        assert printed.err.startswith(f"sumkit: {path}") or printed.out
