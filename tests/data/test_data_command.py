"""`sumkit data`: what it prints, its JSON, its plots and its exit statuses."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from common.cli.main import group, run
from tests.tiny_models import build_tiny_model, build_tiny_tokenizer


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("model")
    build_tiny_model(directory, "llama")
    build_tiny_tokenizer(directory)
    return directory


def test_words_only_without_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(group, ["data", "demo"]) == 0
    printed = capsys.readouterr()
    assert "demo: 240 rows read, used 180 train, 20 dev, 40 test" in printed.out
    assert "columns: document from 'document', summary from 'summary'" in printed.out
    assert "train, 180 examples" in printed.out
    assert "document words" in printed.out
    assert "document tokens" not in printed.out
    assert "add --model NAME for tokens" in printed.out
    assert printed.err == ""


def test_tokens_cuts_and_recommendation_with_a_model(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(group, ["data", "demo", "--model", str(model), "--max-length", "512", "--template", "article"]) == 0
    out = capsys.readouterr().out
    assert "document tokens" in out
    assert "train at --max-length 512 (template article, " in out
    assert "recommended: --max-document-tokens " in out


def test_json_is_one_document_with_everything_in_it(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(group, ["data", "demo", "--model", str(model), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["splits"]["train"]["examples"] == 180
    assert set(document["splits"]) == {"train", "dev", "test"}
    assert set(document["splits"]["dev"]["novel_ngrams"]) == {"1", "2", "3", "4"}
    assert document["splits"]["test"]["document_tokens"]["p95"] > document["splits"]["test"]["document_words"]["p95"]
    assert set(document["recommended"]) == {"max_document_tokens", "max_summary_tokens", "max_length"}
    assert document["report"]["used"] == {"train": 180, "dev": 20, "test": 40}


def test_plots_are_written(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "plots"
    assert run(group, ["data", "demo", "--model", str(model), "--plots", str(folder)]) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["novelty.png", "tokens.png", "words.png"]
    for path in folder.iterdir():
        content = path.read_bytes()
        assert content.startswith(b"\x89PNG")
        width, height = struct.unpack(">II", content[16:24])
        assert width > 600
        assert height > 300


def test_plots_into_a_file_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "taken").touch()
    assert run(group, ["data", "demo", "--plots", str(tmp_path / "taken")]) == 1
    assert f"--plots {tmp_path / 'taken'}: cannot be written" in capsys.readouterr().err


def test_columns_and_other_settings_are_flags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.csv"
    path.write_text("body,text,note\n" + "".join(f"other,document {n} of five words,sum {n}\n" for n in range(20)))
    assert run(group, ["data", str(path)]) == 1
    message = capsys.readouterr().err
    assert message.startswith(f"sumkit: {path}: cannot tell which column holds the document: 'text', 'body' all may")
    flags = ["--document-column", "text", "--summary-column", "note", "--duplicates", "keep", "--seed", "3"]
    assert run(group, ["data", str(path), *flags]) == 0
    assert "columns: document from 'text', summary from 'note'" in capsys.readouterr().out


def test_a_missing_source_and_a_wrong_flag_have_their_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(group, ["data", "missing.jsonl"]) == 1
    assert "missing.jsonl: there is no such file or directory" in capsys.readouterr().err
    assert run(group, ["data", "demo", "--on-bad-row", "explode"]) == 2
    assert run(group, ["data"]) == 2


def test_bad_rows_are_shown_with_their_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.jsonl"
    rows = [json.dumps({"document": f"document {n} of at least five words", "summary": "s"}) for n in range(5)]
    path.write_text("\n".join([*rows, '{"document": "bro\x1b[31mken"']))
    assert run(group, ["data", str(path)]) == 0
    out = capsys.readouterr().out
    assert "unusable rows: 1 skipped (--on-bad-row stop refuses them)" in out
    assert f"  {path}, line 6: is not valid JSON" in out
    assert run(group, ["data", str(path), "--on-bad-row", "stop"]) == 1
    assert f"{path}, line 6" in capsys.readouterr().err
