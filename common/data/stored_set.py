"""A training file too large for memory, prepared part by part: read, cleaned, checked, encoded, written to a store.

What is in memory at once is a few thousand rows, and 16 bytes for every document, by which exact duplicates are
found; near duplicates within the training set are not looked for, copies of held-out documents are. While one part is
tokenized, in the tokenizer's threads, the next is read. An interrupted preparation goes on behind its last part.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.data.columns import Columns, choose_columns
from common.data.duplicates import exact_key, find_leaks, sketch
from common.data.encode import EncodeReport, encode_examples
from common.data.prompts import PromptFormat
from common.data.read_jsonl import jsonl_parts
from common.data.report import DataReport, ReportBuilder, merge_reports, report_from_dict
from common.data.rows import to_examples
from common.data.table import Table
from common.data.token_store import Part, TokenStore, read_part, write_part
from common.files import sha256_file, sha256_text, write_json
from common.progress import Progress
from common.settings import DataSettings
from common.types import Example

PART_ROWS = 4096
MEGABYTE = 1_000_000
FORMAT = 1
NEAR_NOT_SOUGHT = "near duplicates within train are not looked for in a file of this size; exact ones are"


@dataclass(frozen=True)
class StoredSet:
    """A prepared training set, what reading and encoding did to it, and the key that tells it from all others."""

    examples: TokenStore
    data_report: DataReport
    encode_report: EncodeReport
    key: str


def store_training_file(
    source: Path,
    settings: DataSettings,
    form: PromptFormat,
    directory: Path,
    held_out: Sequence[Example] = (),
    part_rows: int = PART_ROWS,
) -> StoredSet:
    """Prepare a JSONL file into `directory` / its key, or go on with, or take, what lies there already.

    The key stands for the file's content, the settings, the prompt, the tokenizer and the held-out documents.
    Raises DataError like `common.data.sources.load_splits`.
    """
    key = _key(source, settings, form, held_out, part_rows)
    folder = directory / key[:24]
    folder.mkdir(parents=True, exist_ok=True)
    parts: list[Part] = []
    while (part := read_part(folder, len(parts))) is not None:
        parts.append(part)
    if not (folder / "complete.json").is_file():
        parts += _make_parts(source, settings, form, folder, held_out, part_rows, parts)
        write_json(folder / "complete.json", {"parts": len(parts), "source": source.name})
    reports = [report_from_dict(part.facts["data"]) for part in parts]
    report = merge_reports(str(source), reports)
    if settings.duplicates == "drop":
        report = dataclasses.replace(report, notes=(*report.notes, NEAR_NOT_SOUGHT))
    return StoredSet(TokenStore(parts), report, _merged([part.facts["encode"] for part in parts]), key)


def _key(source: Path, settings: DataSettings, form: PromptFormat, held_out: Sequence[Example], part_rows: int) -> str:
    chosen = {
        name: getattr(settings, name)
        for name in ("document_column", "summary_column", "on_bad_row", "duplicates", "leaks", "min_document_words")
    }
    facts = {
        "format": FORMAT,
        "source": sha256_file(source),
        "settings": chosen,
        "prompt": form.identity(),
        "held_out": sha256_text("".join(exact_key(example.document).hex() for example in held_out)),
        "part_rows": part_rows,
    }
    return sha256_text(json.dumps(facts, sort_keys=True))


def _make_parts(
    source: Path,
    settings: DataSettings,
    form: PromptFormat,
    folder: Path,
    held_out: Sequence[Example],
    part_rows: int,
    done: Sequence[Part],
) -> Iterator[Part]:
    start, line = (done[-1].facts["end_byte"], done[-1].facts["next_line"]) if done else (0, 1)
    columns = Columns(**done[0].facts["columns"]) if done else None
    keys = {bytes.fromhex(key) for part in done for key in part.facts["keys"]}
    kept_out = sketch([example.document for example in held_out])
    total = source.stat().st_size // MEGABYTE
    with ThreadPoolExecutor(1, "reading") as pool, Progress(total, "preparing, MB", start // MEGABYTE) as progress:
        tables = jsonl_parts(source, part_rows, start, line)
        upcoming = pool.submit(next, tables, None)
        number = len(done)
        while (found := upcoming.result()) is not None:
            upcoming = pool.submit(next, tables, None)
            table, end, next_line = found
            if columns is None and table.columns:
                columns = choose_columns(table.columns, table.file, settings.document_column, settings.summary_column)
            report = ReportBuilder(str(source))
            examples, own = _checked(table, columns or Columns("", ""), settings, keys, kept_out, report)
            encoded, encode_report = encode_examples(examples, form)
            facts = {
                "end_byte": end,
                "next_line": next_line,
                "columns": dataclasses.asdict(columns or Columns("", "")),
                "keys": [key.hex() for key in own],
                "data": report.build({"train": len(examples), "dev": 0, "test": 0}).to_dict(),
                "encode": dataclasses.asdict(encode_report),
            }
            write_part(folder, number, encoded, form.tokenizer.vocab_size, facts)
            part = read_part(folder, number)
            assert part is not None
            yield part
            progress.advance(end // MEGABYTE - start // MEGABYTE)
            start, number = end, number + 1


def _checked(
    table: Table,
    columns: Columns,
    settings: DataSettings,
    keys: set[bytes],
    held_out: Sequence[Any],
    report: ReportBuilder,
) -> tuple[list[Example], list[bytes]]:
    """A part's usable examples and their documents' keys; `keys` of earlier documents grows by theirs."""
    stop = settings.on_bad_row == "stop"
    report.note(f"columns: {columns}")
    report.columns = dataclasses.asdict(columns)
    examples = to_examples(table, columns, settings.min_document_words, "train", report, empty_is_bad=stop)
    if stop:
        report.refuse_bad()
    gone: set[int] = set()
    own = [exact_key(example.document) for example in examples]
    for index, (example, key) in enumerate(zip(examples, own, strict=True)):
        if key in keys:
            report.found(
                "exact duplicates", "train", "dropped" if settings.duplicates == "drop" else "kept", example.id
            )
            if settings.duplicates == "drop":
                gone.add(index)
        keys.add(key)
    if held_out:
        left = [index for index in range(len(examples)) if index not in gone]
        for match in find_leaks(sketch([examples[index].document for index in left]), held_out):
            action = "dropped" if settings.leaks == "drop" else "kept"
            kind = "exact copies" if match.exact else "near copies"
            report.found(f"{kind} of held-out documents", "train", action, examples[left[match.index]].id)  # type: ignore[arg-type]
            if settings.leaks == "drop":
                gone.add(left[match.index])
    left = [index for index in range(len(examples)) if index not in gone]
    return [examples[index] for index in left], [own[index] for index in left]


def _merged(reports: Sequence[dict[str, Any]]) -> EncodeReport:
    counts: Sequence[str] = ("examples", "tokens", "target_tokens", "cut_examples", "cut_tokens")
    fields: dict[str, Any] = {name: sum(report[name] for report in reports) for name in counts}
    fields |= {
        name: tuple(i for report in reports for i in report[name]) for name in ("long_summaries", "no_room", "refused")
    }
    longest = max((report["max_summary_tokens"] for report in reports), default=0)
    refusal = next((report["refusal"] for report in reports if report["refusal"]), "")
    return EncodeReport(**fields, max_summary_tokens=longest, refusal=refusal)
