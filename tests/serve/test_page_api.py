"""What the page calls: files read, opinions kept so that training can use them."""

from __future__ import annotations

import json

import httpx
import pytest

from common.data.preferences import Preference, append_row, choice_row, rating_row, read_preferences
from common.errors import DataError
from tests.documents.make_files import docx_bytes, pdf_bytes
from tests.serve.conftest import Running, Start
from tests.serve.echo import Echo


@pytest.fixture
def server(start: Start) -> Running:
    return start(lambda: {"a": Echo("a")})


def rate(server: Running, **opinion: object) -> httpx.Response:
    return httpx.post(f"{server.url}/api/ratings", json={"opinion": opinion})


def test_files_dropped_on_the_page_are_read(server: Running) -> None:
    def read(name: str, data: bytes) -> httpx.Response:
        return httpx.post(f"{server.url}/api/documents", params={"name": name}, content=data, timeout=60)

    assert read("a.pdf", pdf_bytes([["The ferry stays."]])).json() == {
        "name": "a.pdf",
        "text": "The ferry stays.",
        "note": "",
    }
    assert "voted on Tuesday" in read("../../b.docx", docx_bytes()).json()["text"]
    assert read("a\0\n.txt", b"The ferry stays.").json()["name"] == "a.txt"
    refused = read("c.pdf", b"%PDF-1.4 damaged")
    assert refused.status_code == 422
    assert refused.json()["error"]["message"].startswith("c.pdf: is damaged")


def test_a_wish_that_is_not_known_is_refused_and_the_command_lines_name_is_known(server: Running) -> None:
    def ask(**wishes: object) -> httpx.Response:
        return httpx.post(f"{server.url}/api/summarize", json={"text": "The ferry stays.", **wishes}, timeout=60)

    refused = ask(sentence=1)
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "sentence"
    for name in ("max_tokens", "max_new_tokens"):
        assert ask(**{name: 5}).status_code == 200
        assert ask(**{name: 0}).status_code == 400


def test_choices_and_ratings_become_pairs_to_train_on(server: Running) -> None:
    def good(summary: str, rating: int = 1, document: str = "D") -> httpx.Response:
        return rate(server, kind="rating", document=document, summary=summary, model="a", rating=rating)

    choice = {"kind": "choice", "document": "D", "chosen_by": "person", "rejected_by": "a"}
    assert rate(server, **choice, chosen="mended", rejected="broken").status_code == 201
    for reply in (good("fine"), good("poor", -1), good("so-so", -1), good("other", -1, "E"), good("so-so", 0)):
        assert reply.status_code == 201
    assert read_preferences(server.ratings) == [Preference("D", "mended", "broken"), Preference("D", "fine", "poor")]
    first = json.loads(server.ratings.read_text().splitlines()[0])
    assert {"kind", "time", "document_sha256", "chosen_by", "rejected_by"} <= first.keys()


@pytest.mark.parametrize(
    "opinion",
    [
        {"kind": "rating", "document": "D", "summary": "s", "model": "a", "rating": 7},
        {"kind": "rating", "document": "", "summary": "s", "model": "a", "rating": 1},
        {"kind": "choice", "document": "D", "chosen": "s"},
        {"kind": "praise"},
        {},
    ],
)
def test_opinions_that_mean_nothing_are_refused_and_not_kept(server: Running, opinion: dict[str, object]) -> None:
    assert rate(server, **opinion).status_code == 400
    assert not server.ratings.exists()


def test_ratings_that_cannot_be_written_are_said_to_be_lost(server: Running) -> None:
    server.ratings.mkdir()
    reply = rate(server, kind="rating", document="D", summary="s", model="a", rating=1)
    assert reply.status_code == 507
    assert "cannot be written" in reply.json()["error"]["message"]


def test_a_preference_file_is_read_with_the_line_of_every_fault(tmp_path) -> None:
    path = tmp_path / "ratings.jsonl"
    append_row(path, choice_row("D", "same", "same", "a", "b"))
    append_row(path, rating_row("D", "s\ud800", "a", 1))
    assert read_preferences(path) == [], "equal texts teach nothing, and one rating alone is no pair"
    for line in ("{", "[]", '{"kind": "praise"}', '{"kind": "choice"}'):
        path.write_text(f"\n{line}\n")
        with pytest.raises(DataError, match=r"ratings.jsonl: line 2"):
            read_preferences(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_preferences(tmp_path / "missing.jsonl")


def test_the_state_names_models_and_the_ratings_file(server: Running) -> None:
    state = httpx.get(f"{server.url}/api/state").json()
    assert state["models"] == ["a"]
    assert state["ratings"] == str(server.ratings)
    assert httpx.get(f"{server.url}/health").json() == {"status": "ok", "waiting": 0}
