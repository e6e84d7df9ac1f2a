"""What reading did to the data: how many rows came in, what was left out and why, what was cleaned.

`DataReport` is frozen and goes into results; `ReportBuilder` gathers it. Knows nothing of files or columns.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from common.data.table import BadRow, shown
from common.errors import DataError

IDS_KEPT = 10
BAD_ROWS_KEPT = 20


@dataclass(frozen=True)
class Finding:
    """One kind of finding in one split: how many rows, the first few ids, and whether the rows were dropped."""

    reason: str
    split: str
    count: int
    ids: tuple[str, ...]
    action: Literal["dropped", "kept"]

    def __str__(self) -> str:
        ids = ", ".join(shown(name)[1:-1] for name in self.ids[:3]) + (", …" if self.count > 3 else "")
        return f"{self.split}: {self.reason}: {self.count:,} {self.action} ({ids})"


@dataclass(frozen=True)
class DataReport:
    """Counts over one reading. `rows_read` = used in all + dropped in all + bad rows.

    columns   the columns that documents and summaries came from
    bad_rows  the first few rows that could not be used, with their place and problem; `bad_row_count` is all
    cleaned   rows changed by cleaning, by kind of change (white space not counted)
    notes     choices that were made for the user: columns, splits
    """

    source: str
    rows_read: int
    used: dict[str, int]
    columns: dict[str, str]
    findings: tuple[Finding, ...]
    bad_rows: tuple[BadRow, ...]
    bad_row_count: int
    cleaned: dict[str, int]
    notes: tuple[str, ...]

    @property
    def dropped(self) -> int:
        """Rows left out on purpose (bad rows not counted)."""
        return sum(finding.count for finding in self.findings if finding.action == "dropped")

    def count(self, reason_part: str, split: str = "") -> int:
        """Rows found for a reason that contains the given words."""
        return sum(f.count for f in self.findings if reason_part in f.reason and split in ("", f.split))

    def lines(self) -> list[str]:
        """Plain sentences for a person, bad rows last."""
        used = ", ".join(f"{count:,} {split}" for split, count in self.used.items() if count)
        said = [f"{shown(self.source)[1:-1]}: {self.rows_read:,} rows read, used {used or 'none'}", *self.notes]
        said += [str(finding) for finding in self.findings]
        said += [f"cleaned: {change} in {count:,} of {self.rows_read:,} rows" for change, count in self.cleaned.items()]
        if self.bad_row_count:
            said.append(f"unusable rows: {self.bad_row_count:,} skipped (--on-bad-row stop refuses them)")
            said += listed(self.bad_rows, self.bad_row_count)
        return said

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return dataclasses.asdict(self)


def listed(rows: Sequence[BadRow], count: int) -> list[str]:
    """Bad rows one a line, indented, with the number of those not shown."""
    lines = [f"  {row}" for row in rows]
    return lines + ([f"  … and {count - len(rows):,} more"] if count > len(rows) else [])


def report_from_dict(values: dict[str, Any]) -> DataReport:
    """What `DataReport.to_dict` gave, also after it went through JSON."""
    fields: dict[str, Any] = {**values, "notes": tuple(values["notes"])}
    fields["findings"] = tuple(Finding(**{**finding, "ids": tuple(finding["ids"])}) for finding in values["findings"])
    fields["bad_rows"] = tuple(BadRow(**row) for row in values["bad_rows"])
    return DataReport(**fields)


def merge_reports(source: str, reports: Sequence[DataReport]) -> DataReport:
    """One report over readings of parts of a source: counts add up, ids and bad rows are the first few."""
    found: dict[tuple[str, str, Literal["dropped", "kept"]], Finding] = {}
    used: Counter[str] = Counter()
    changes: Counter[str] = Counter()
    for report in reports:
        used.update(report.used)
        changes.update(report.cleaned)
        for new in report.findings:
            key = (new.reason, new.split, new.action)
            old = found.get(key, Finding(*key[:2], 0, (), new.action))
            ids = (*old.ids, *new.ids)[:IDS_KEPT]
            found[key] = dataclasses.replace(old, count=old.count + new.count, ids=ids)
    bad = [row for report in reports for row in report.bad_rows]
    return DataReport(
        source=source,
        rows_read=sum(report.rows_read for report in reports),
        used=dict(used),
        columns=next((report.columns for report in reports if report.columns), {}),
        findings=tuple(found.values()),
        bad_rows=tuple(bad[:BAD_ROWS_KEPT]),
        bad_row_count=sum(report.bad_row_count for report in reports),
        cleaned=dict(changes),
        notes=tuple(dict.fromkeys(note for report in reports for note in report.notes)),
    )


class ReportBuilder:
    """Gathers what a `DataReport` holds."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.rows_read = 0
        self.columns: dict[str, str] = {}
        self._found: dict[tuple[str, str, Literal["dropped", "kept"]], list[str]] = {}
        self._bad: list[BadRow] = []
        self._cleaned: Counter[str] = Counter()
        self._notes: list[str] = []

    def found(self, reason: str, split: str, action: Literal["dropped", "kept"], example_id: str) -> None:
        """Count a row of `split` under a reason."""
        self._found.setdefault((reason, split, action), []).append(example_id)

    def bad(self, rows: Iterable[BadRow]) -> None:
        """Count rows that cannot be used."""
        self._bad.extend(rows)

    def cleaned(self, changes: Iterable[str]) -> None:
        """Count the kinds of change that cleaning made to a row."""
        self._cleaned.update(changes)

    def note(self, text: str) -> None:
        """Tell a choice that was made for the user, once."""
        if text not in self._notes:
            self._notes.append(text)

    def refuse_bad(self) -> None:
        """Raise DataError listing the bad rows, if there are any."""
        if self._bad:
            rows = "\n".join(listed(self._bad[:BAD_ROWS_KEPT], len(self._bad)))
            message = "mend them, or leave them out with --on-bad-row skip"
            raise DataError(f"{self.source}: unusable rows: {len(self._bad):,}; {message}\n{rows}")

    def refuse_empty(self, used: int) -> None:
        """Raise DataError when nothing is left to use, saying where the rows went."""
        if used:
            return
        if not self.rows_read:
            raise DataError(f"{self.source}: holds no rows; it needs at least one document with a summary")
        reasons = [str(finding) for finding in self._findings()]
        rows = listed(self._bad[:BAD_ROWS_KEPT], len(self._bad))
        raise DataError("\n".join([f"{self.source}: nothing is left of {self.rows_read:,} read", *reasons, *rows]))

    def _findings(self) -> tuple[Finding, ...]:
        return tuple(
            Finding(reason, split, len(ids), tuple(ids[:IDS_KEPT]), action)
            for (reason, split, action), ids in self._found.items()
        )

    def build(self, used: dict[str, int]) -> DataReport:
        """The finished report."""
        return DataReport(
            source=self.source,
            rows_read=self.rows_read,
            used=used,
            columns=self.columns,
            findings=self._findings(),
            bad_rows=tuple(self._bad[:BAD_ROWS_KEPT]),
            bad_row_count=len(self._bad),
            cleaned=dict(self._cleaned),
            notes=tuple(self._notes),
        )
