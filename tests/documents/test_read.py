"""Files of every kind give the text that a reader would read, and say plainly when they cannot."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.documents.find import find_documents
from common.documents.pdf import join_lines
from common.documents.read import SUFFIXES, document_from_bytes, read_document
from common.errors import DataError
from tests.documents.make_files import docx_bytes, pdf_bytes

PAGE = b"""<!doctype html><html><head><title>Site</title><style>p {}</style></head><body>
<nav>Home | News</nav><article><h1>Ferry stays</h1><p>The council <b>voted</b> on&nbsp;Tuesday.<br>All of it.</p>
<ul><li>one</li><li>two</li></ul><table><tr><th>Port</th><th>Cost</th></tr><tr><td>Orrin</td><td>410</td></tr></table>
</article><script>alert("no")</script><footer>Imprint</footer></body></html>"""


def result_of(name: str, data: bytes) -> str:
    """The text, or a plain message that begins with the file's name; any other exception fails the test."""
    try:
        return text_of(name, data).strip()
    except DataError as error:
        message = str(error)
    return message if message.startswith(f"{name}: ") else ""


def text_of(name: str, data: bytes) -> str:
    return document_from_bytes(name, data).text


def test_html_gives_the_article_in_blocks_without_scripts_and_navigation() -> None:
    lines = "Ferry stays\n\nThe council voted on Tuesday.\nAll of it.\n\none\ntwo\n\nPort | Cost\nOrrin | 410"
    assert text_of("page.html", PAGE) == lines
    assert text_of("page-without-suffix", PAGE) == lines


def test_a_page_of_nothing_but_navigation_is_still_read() -> None:
    assert text_of("a.html", b"<body><nav>Only this</nav></body>") == "Only this"


def test_deeply_nested_html_is_read_without_recursion() -> None:
    assert text_of("deep.html", b"<div>" * 20_000 + b"bottom") == "bottom"


def test_markdown_loses_its_marks_and_front_matter_and_keeps_headings_as_lines() -> None:
    source = "---\ntitle: x\n---\n# Ferry *stays*\n\nThe [council](http://x) voted\non Tuesday.\n\n- one\n- two\n"
    assert text_of("notes.md", source.encode()) == "Ferry stays\n\nThe council voted on Tuesday.\n\none\ntwo"


def test_word_files_give_paragraphs_and_tables_in_order_and_merged_cells_once() -> None:
    expected = "The ferry stays\n\nThe council voted on Tuesday.\n\nPort | Cost | Year\nOrrin, free | 2029\n\n"
    assert text_of("a.docx", docx_bytes()) == expected + "It leaves at night."


def test_pdf_lines_become_paragraphs_and_running_heads_vanish() -> None:
    pages = [
        [
            "Annual report",
            f"The council of Penmarrow voted on Tuesday to keep the night ferry run-{number}",
            "ning to Saint Orrin, and the debate lasted for more than three hours in",
            "the hall.",
            f"A second paragraph on page {'abc'[number]} begins here and goes on for a good while yet",
            "until it ends.",
            f"Page {number + 1} of 3",
        ]
        for number in range(3)
    ]
    pages[0][1] = pages[0][1].replace("run-0", "run-")
    text = text_of("report.pdf", pdf_bytes(pages))
    assert "Annual report" not in text
    assert "of 3" not in text
    first, second = text.split("\n\n")[:2]
    expected = "night ferry running to Saint Orrin, and the debate lasted for more than three hours in the hall."
    assert first.endswith(expected)
    assert second.startswith("A second paragraph on page a")


def test_a_heading_and_list_items_stay_apart_from_the_lines_around_them() -> None:
    lines = ["Costs of the year", "The ferry costs the town a great deal of money, but", "less than a bridge would."]
    lines += ["- fuel", "- crew"]
    assert join_lines(lines) == (
        "Costs of the year\n\nThe ferry costs the town a great deal of money, but less than a bridge would."
        "\n\n- fuel\n\n- crew"
    )


def test_a_pdf_without_text_says_that_it_may_be_scanned() -> None:
    with pytest.raises(DataError, match=r"scan.pdf: holds no text .*OCR"):
        text_of("scan.pdf", pdf_bytes([[], []]))


def test_an_encrypted_pdf_is_named_with_the_remedy() -> None:
    from pypdf import PdfReader, PdfWriter

    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf_bytes([["secret"]]))))
    writer.encrypt("password", algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    with pytest.raises(DataError, match=r"closed.pdf: is encrypted.*without"):
        text_of("closed.pdf", out.getvalue())


@pytest.mark.parametrize(
    ("encoding", "text", "noted"),
    [
        ("utf-8", "Größe, naïve, 日本語", ""),
        ("utf-8-sig", "Größe, naïve", ""),
        ("utf-16", "Größe, naïve, 日本語", ""),
        ("utf-32", "Größe, naïve", ""),
        ("cp1252", "Die Größe der naïve café – “so” steht es da, und für die Straße auch.", "cp1252"),
        ("cp1251", "Привет мир, это простой текст на русском языке для проверки.", "cp1251"),
        ("cp932", "これは日本語のテキストです。文字コードの確認に使います。", "cp932"),
    ],
)
def test_text_is_read_in_its_encoding_and_a_guess_is_noted(encoding: str, text: str, noted: str) -> None:
    document = document_from_bytes("a.txt", text.encode(encoding))
    assert document.text == text
    assert noted in document.note
    assert bool(document.note) == bool(noted)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("empty.txt", b" \n", "empty.txt: holds no text"),
        ("photo.png", b"\x89PNG\r\n\x1a\n\0\0", r"photo.png: .png is not supported; supported are .txt"),
        ("old.doc", b"\xd0\xcf\x11\xe0" + b"\0" * 50, ".doc is not supported"),
        ("a.rtf", b"{\\rtf1\\ansi hello}", ".rtf is not supported"),
        ("letters.csv", b"letter,gist\na,b\n", "letters.csv: is a table, not a document"),
        ("fake.pdf", b"hello", "fake.pdf: is no PDF file"),
        ("cut.pdf", pdf_bytes([["text"]])[:200], "cut.pdf: is damaged"),
        ("cut.docx", docx_bytes()[:500], "cut.docx: is damaged"),
        ("binary.txt", bytes(range(256)) * 20, "binary.txt: is not text in any known encoding"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_reason(name: str, data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        document_from_bytes(name, data)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(SUFFIXES)), st.binary(max_size=300), st.sampled_from([b"", b"%PDF-1.7\n", b"PK\x03\x04"]))
def test_no_bytes_lead_to_anything_but_text_or_a_plain_error(suffix: str, data: bytes, start: bytes) -> None:
    assert result_of("file" + suffix, start + data)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damaged_pdf_and_word_files_lead_to_text_or_a_plain_error(data: st.DataObject) -> None:
    name, good = data.draw(st.sampled_from([("a.pdf", pdf_bytes([["some text"]], compressed=False)), ("a.docx", WORD)]))
    damaged = bytearray(good)
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    assert result_of(name, bytes(damaged))


WORD = docx_bytes()


def test_a_folder_stands_for_its_documents_by_name_and_counts_the_rest(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / ".hidden").mkdir()
    for name in ("b.txt", "a.md", "sub/c.html", "x.zip", "y.zip", "LICENSE", ".hidden/d.txt", ".e.txt"):
        (tmp_path / name).write_text("text")
    found = find_documents([str(tmp_path), str(tmp_path / "a.md"), "-", "missing.txt"])
    assert [path.name for path in found.paths] == ["a.md", "b.txt", "c.html", "-", "missing.txt"]
    assert found.skipped_line() == "3 files of other kinds left out: 1 without suffix, 2 .zip"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone.txt: cannot be read \(No such file or directory\)"):
        read_document(tmp_path / "gone.txt")
