"""The human evaluation kit: a sheet that gives nothing away, and ratings that find their way back."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from common.errors import DataError
from common.report.human_scores import human_table, read_human_scores
from common.report.human_sheet import CRITERIA, draw_items, sheet_id, write_human_sheet
from common.run.contents import read_run
from tests.report.example_runs import corpus, write_evaluation
from tests.report.page_reader import Page
from tests.report.test_page import hostile_examples

Rate = Callable[[str, int], int]


@pytest.fixture(scope="module")
def run_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run")
    write_evaluation(path)
    write_human_sheet(path, 12, seed=3)
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def fill(run: Path, target: Path, rater: str, rate: Rate) -> Path:
    """Fill sheet.csv as a rater who secretly knows the systems would, through `rate(system, item)`."""
    key = {(row["item"], row["summary"]): row["system"] for row in rows_of(run / "human" / "key.csv")}
    rows = rows_of(run / "human" / "sheet.csv")
    for row in rows:
        value = rate(key[(row["item"], row["summary"])], int(row["item"]))
        row.update({"rater": rater, **{name: str(value) if value else "" for name in CRITERIA}})
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return target


def test_the_sheet_names_no_system_and_shuffles_them(run_path: Path) -> None:
    html = (run_path / "human" / "sheet.html").read_text(encoding="utf-8")
    page = Page(html)
    assert page.unclosed == []
    values = [value for name, value in page.attributes if name != "content"]
    assert not any(system in value for value in values for system in ("tuned", "base", "reference"))
    assert "tuned" not in page.text
    assert "system" not in rows_of(run_path / "human" / "sheet.csv")[0]
    places = Counter((row["summary"], row["system"]) for row in rows_of(run_path / "human" / "key.csv"))
    assert len(places) == 9  # each system stood at each place


def test_every_summary_of_the_sheet_is_the_one_the_key_says(run_path: Path) -> None:
    run = read_run(run_path)
    texts = {
        "tuned": {row.id: row.prediction for row in run.predictions},
        "base": {row.id: row.prediction for row in run.others["base"]},
        "reference": {row.id: row.reference for row in run.predictions},
    }
    key = {(row["item"], row["summary"]): row for row in rows_of(run_path / "human" / "key.csv")}
    sheet = rows_of(run_path / "human" / "sheet.csv")
    assert len(sheet) == 36
    for row in sheet:
        secret = key[(row["item"], row["summary"])]
        assert row["text"] == texts[secret["system"]][secret["id"]]


def test_the_seed_decides_documents_and_order(run_path: Path) -> None:
    run = read_run(run_path)
    assert draw_items(run, 12, 3) == draw_items(run, 12, 3)
    assert sheet_id(draw_items(run, 12, 3)) != sheet_id(draw_items(run, 12, 4))
    assert len(draw_items(run, 10_000, 0)) == 40


def test_hostile_documents_stay_text_in_form_and_spreadsheet(tmp_path: Path) -> None:
    examples = hostile_examples()
    write_evaluation(tmp_path, examples, ["=HYPERLINK(1)", "+1", "-1", "@x", *["fine"] * (len(examples) - 4)])
    write_human_sheet(tmp_path, 100)
    page = Page((tmp_path / "human" / "sheet.html").read_text(encoding="utf-8"))
    assert page.tags.count("script") == 1
    assert not any(name.startswith("on") for name, _ in page.attributes)
    cells = [row[name] for row in rows_of(tmp_path / "human" / "sheet.csv") for name in ("document", "text")]
    assert not any(cell.startswith(("=", "+", "-", "@")) for cell in cells)
    assert "'=HYPERLINK(1)" in cells


def test_planted_preferences_come_back_as_means_wins_and_agreement(run_path: Path, tmp_path: Path) -> None:
    quality = {"tuned": 4, "base": 2, "reference": 4}

    def first(system: str, item: int) -> int:
        return quality[system]

    def second(system: str, item: int) -> int:
        return quality[system] - (system == "reference" and item <= 3)

    files = [fill(run_path, tmp_path / "a.csv", "ann", first), fill(run_path, tmp_path / "b.csv", "bob", second)]
    scores = read_human_scores(run_path, files)
    assert (scores.raters, scores.documents) == (("ann", "bob"), 12)
    assert scores.means["tuned"]["fluency"].mean == 4.0
    assert scores.means["base"]["overall"].mean == 2.0
    assert scores.means["reference"]["relevance"].mean == pytest.approx(4 - 3 * 0.5 / 12)
    wins = {(win.first, win.second): win for win in scores.win_rates}
    assert (wins["tuned", "base"].wins, wins["tuned", "base"].rate.mean) == (12, 100.0)
    against_reference = wins["tuned", "reference"]
    assert (against_reference.wins, against_reference.ties, against_reference.losses) == (3, 9, 0)
    assert against_reference.rate.mean == pytest.approx(100 * (3 + 4.5) / 12)
    agreement = scores.agreement["factuality"]
    assert agreement is not None
    assert 0.8 < agreement < 1.0
    assert "fine-tuned beats untuned in 100 %" in human_table(scores)


def test_one_rater_has_no_agreement_and_blank_ratings_are_left_out(run_path: Path, tmp_path: Path) -> None:
    file = fill(run_path, tmp_path / "a.csv", "", lambda system, item: 5 if item == 1 else 0)
    scores = read_human_scores(run_path, [file])
    assert (scores.raters, scores.documents) == (("a",), 1)
    assert set(scores.agreement.values()) == {None}


def test_a_spreadsheet_with_semicolons_and_byte_order_mark_is_read(run_path: Path, tmp_path: Path) -> None:
    file = fill(run_path, tmp_path / "a.csv", "ann", lambda system, item: 3)
    rows = rows_of(file)
    with file.open("w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.DictWriter(stream, ["sheet", "rater", "item", "summary", *CRITERIA], delimiter=";")
        writer.writeheader()
        writer.writerows({name: row[name] for name in writer.fieldnames} for row in rows)
    assert read_human_scores(run_path, [file]).means["base"]["overall"].mean == 3.0


def test_every_problem_of_the_ratings_is_listed_at_once(run_path: Path, tmp_path: Path) -> None:
    file = fill(run_path, tmp_path / "a.csv", "ann", lambda system, item: 3)
    rows = rows_of(file)
    rows[0]["fluency"] = "6"
    rows[1]["fluency"] = "good"
    rows[2]["sheet"] = "000000000000"
    rows[3]["item"] = "99"
    rows[5] = dict(rows[4])
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(DataError) as caught:
        read_human_scores(run_path, [file])
    message = str(caught.value)
    assert "row 2: fluency is '6'; allowed are 1 to 5" in message
    assert "row 3: fluency is 'good'" in message
    assert "row 4: belongs to sheet '000000000000'" in message
    assert "row 5: item '99'" in message
    assert "row 7: rater 'ann' rated item" in message


def test_what_cannot_be_rated_is_refused_with_the_remedy(run_path: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least one document"):
        write_human_sheet(run_path, 0)
    (tmp_path / "config.yaml").write_text("a: {}\n")
    with pytest.raises(DataError, match="has no predictions to rate; evaluate it first"):
        write_human_sheet(tmp_path, 3)
    with pytest.raises(DataError, match="key is written together with the sheet"):
        read_human_scores(tmp_path, [run_path / "human" / "sheet.csv"])
    with pytest.raises(DataError, match="no rating is filled in"):
        read_human_scores(run_path, [run_path / "human" / "sheet.csv"])


def test_a_summary_of_another_document_under_the_same_id_is_not_on_the_sheet(tmp_path: Path) -> None:
    write_evaluation(tmp_path)
    other = tmp_path / "other"
    write_evaluation(other, [replace(example, document=f"Another text. {n}") for n, example in enumerate(corpus())])
    (other / "predictions-base.csv").replace(tmp_path / "predictions-base.csv")
    for item in draw_items(read_run(tmp_path), 5, seed=0):
        assert {system for _, system, _ in item.summaries} == {"tuned", "reference"}


@pytest.mark.parametrize(
    "content", [b"", b"a,b\n1,2\n", b"\xff\x00\x81", b"sheet,item,summary,id,system\ns,1,A,x,somebody\n"]
)
def test_a_damaged_key_or_sheet_is_named(run_path: Path, tmp_path: Path, content: bytes) -> None:
    filled = fill(run_path, tmp_path / "ann.csv", "ann", lambda system, item: 3)
    damaged = tmp_path / "run"
    (damaged / "human").mkdir(parents=True)
    (damaged / "human" / "key.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"key.csv is damaged: it must name the system"):
        read_human_scores(damaged, [filled])
    broken = tmp_path / "broken.csv"
    broken.write_bytes(content)
    with pytest.raises(DataError, match=r"broken.csv: is not a filled-in sheet"):
        read_human_scores(run_path, [broken])


def test_a_sheet_with_a_very_long_document_is_read(run_path: Path, tmp_path: Path) -> None:
    filled = fill(run_path, tmp_path / "ann.csv", "ann", lambda system, item: 3)
    rows = rows_of(filled)
    rows[0]["document"] = "word " * 40_000
    with filled.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    assert read_human_scores(run_path, [filled]).documents == 12
