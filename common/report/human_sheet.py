"""A blinded rating sheet: people rate base, tuned and reference summaries without knowing which is which.

Writes an HTML form that works offline and saves the ratings as CSV, the same sheet as CSV, and a key that only
whoever evaluates needs. Reading ratings back is `human_scores`.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import DataError
from common.files import write_text
from common.run.contents import RunFiles, read_run
from common.run.predictions import PredictionRow
from common.safe_text import visible
from common.version import VERSION

CRITERIA: Mapping[str, str] = {
    "relevance": "Does it hold what matters most, and nothing that does not?",
    "fluency": "Is it well written, whole and easy to read?",
    "factuality": "Is everything it says supported by the document?",
    "conciseness": "Is it as short as it can be without losing what matters?",
}
SCALE = (1, 2, 3, 4, 5)
LABELS = ("A", "B", "C")
FOLDER = "human"
KEY = "key.csv"
RATING_COLUMNS = ("sheet", "rater", "item", "summary", *CRITERIA)
SHEET_COLUMNS = (*RATING_COLUMNS, "document", "text")


@dataclass(frozen=True)
class SheetItem:
    """One document of the sheet with its summaries in blinded order: (label, system, text)."""

    number: int
    id: str
    document: str
    summaries: tuple[tuple[str, str, str], ...]


def write_human_sheet(run: Path, n: int, seed: int = 0) -> list[Path]:
    """Write `human/sheet.html`, `human/sheet.csv` and `human/key.csv` into a run; returns their paths.

    `n` documents are drawn by the seed, and the order of summaries is shuffled for each. Raises DataError when the
    run has no predictions, no reference beside them, or fewer than one document is asked for.
    """
    files = read_run(Path(run))
    items = draw_items(files, n, seed)
    sheet = sheet_id(items)
    folder = files.path / FOLDER
    paths = [folder / "sheet.html", folder / "sheet.csv", folder / KEY]
    write_text(paths[0], render_sheet(items, sheet))
    write_text(paths[1], sheet_csv(items, sheet))
    write_text(paths[2], key_csv(items, sheet))
    return paths


def draw_items(run: RunFiles, n: int, seed: int) -> list[SheetItem]:
    """The documents to rate, in random order, each with its summaries in an order of its own."""
    if n < 1:
        raise DataError(f"a rating sheet needs at least one document, not {n}")
    if not run.predictions:
        raise DataError(f"{run.path}: has no predictions to rate; evaluate it first: sumkit eval {run.path}")
    if not any(row.reference.strip() for row in run.predictions):
        raise DataError(f"{run.directory.predictions}: no row has a reference to rate the summaries beside")
    base = {row.key: row for row in run.others.get("base", ())}
    generator = random.Random(seed)
    rows = generator.sample(run.predictions, min(n, len(run.predictions)))
    return [_item(number, row, base.get(row.key), run.main_system, generator) for number, row in enumerate(rows, 1)]


def _item(
    number: int, row: PredictionRow, base: PredictionRow | None, system: str, generator: random.Random
) -> SheetItem:
    summaries = [(system, row.prediction), ("reference", row.reference)]
    if base is not None:
        summaries.append(("base", base.prediction))
    generator.shuffle(summaries)
    labelled = tuple((label, name, text) for label, (name, text) in zip(LABELS, summaries, strict=False))
    return SheetItem(number, row.id, row.document, labelled)


def sheet_id(items: Sequence[SheetItem]) -> str:
    """A short hash that ties ratings to the sheet, and its key, that they were made on."""
    text = "\x00".join(f"{item.id}\x01{item.summaries}" for item in items)
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:12]


def sheet_csv(items: Sequence[SheetItem], sheet: str) -> str:
    """The sheet for a spreadsheet: one row a summary, with empty columns for the ratings."""
    empty = [""] * len(CRITERIA)
    rows = [
        [sheet, "", item.number, label, *empty, _cell(item.document), _cell(text)]
        for item in items
        for label, _, text in item.summaries
    ]
    return _csv(SHEET_COLUMNS, rows)


def key_csv(items: Sequence[SheetItem], sheet: str) -> str:
    """Which system wrote which summary. Raters must not see it."""
    rows = [[sheet, item.number, label, item.id, system] for item in items for label, system, _ in item.summaries]
    return _csv(("sheet", "item", "summary", "id", "system"), rows)


def _csv(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return out.getvalue()


def _cell(text: str) -> str:
    """Text that a spreadsheet takes for text: a cell that starts like a formula gets an apostrophe."""
    shown = visible(text)
    return f"'{shown}" if shown.startswith(("=", "+", "-", "@", "\t")) else shown


def render_sheet(items: Sequence[SheetItem], sheet: str) -> str:
    """The form as one page. Only its own script may run: the page's security policy names that script's hash."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = Path(__file__).parent
    script = (folder / "human_sheet.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(f"\n{script}\n".encode()).digest()).decode()
    environment = Environment(loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined)
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.filters["visible"] = visible
    return environment.get_template("human_sheet.html").render(
        version=VERSION,
        items=items,
        sheet=sheet,
        criteria=CRITERIA,
        scale=SCALE,
        style=(folder / "report.css").read_text(encoding="utf-8"),
        script=script,
        digest=digest,
    )
