"""From the value of `--data` to examples: a directory, a file or a data set name, split, cleaned and checked.

Every choice made for the user and every row left out is in the `DataReport`. Knows nothing of prompts, tokens or
models.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.data.columns import Columns, choose_columns
from common.data.dialogue_layouts import to_pairs
from common.data.duplicates import Sketch, find_duplicates, find_leaks, sketch
from common.data.files import READERS, only_file, read_table, split_files
from common.data.named import NAMES, demo_tables, find_hub_set, hub_tables
from common.data.report import DataReport, ReportBuilder
from common.data.rows import to_examples
from common.data.splitting import SPLITS, WHOLE, Sets, Split, complete_splits
from common.data.table import Table, shown
from common.errors import DataError
from common.nearest import nearest
from common.settings import DataSettings
from common.types import Example

LARGE_BYTES = 256_000_000  # read into memory, such a file takes several times as much


@dataclass(frozen=True)
class Splits:
    """The examples of a source. `dev` and `test` may be empty; `name` is short, for run names and reports."""

    train: list[Example]
    dev: list[Example]
    test: list[Example]
    report: DataReport
    name: str

    def get(self, split: str) -> list[Example]:
        """The examples of one split by name."""
        return {"train": self.train, "dev": self.dev, "test": self.test}[split]


def load_splits(settings: DataSettings, seed: int, require_train: bool = True) -> Splits:
    """Read `settings.data` into splits, leaving duplicates and leaks out of train unless told to keep them.

    Limits (`limit_train`, `limit_dev`) are not applied. Raises DataError when the source is missing, unreadable,
    its columns are unclear, a row is bad under `on_bad_row` stop, or no training row is left.
    """
    report = ReportBuilder(settings.data)
    files = _tables(settings.data)
    sets = _to_sets(files, settings, report)
    _note_longer_summaries(sets, report)
    sets = complete_splits(sets, settings.dev_fraction, seed, report)
    sketches = {split: sketch([example.document for example in examples]) for split, examples in sets.items()}
    gone = _find_duplicates(sets, sketches, settings.duplicates == "drop", report)
    gone |= _find_leaks(sets, sketches, gone, settings.leaks == "drop", report)
    sets["train"] = [example for index, example in enumerate(sets.get("train", [])) if index not in gone]
    used: dict[str, int] = {split: len(sets.get(split, [])) for split in SPLITS}
    if require_train and not used["train"] and set(files) <= {"dev", "test"}:
        there = ", ".join(f"{split} ({used[split]:,})" for split in files)
        raise DataError(
            f"{settings.data}: has no training file, only {there}; add a train file, or give one file as --data, which "
            "is split"
        )
    report.refuse_empty(used["train"] if require_train else sum(used.values()))
    train, dev, test = (sets.get(split, []) for split in SPLITS)
    return Splits(train, dev, test, report.build(used), source_name(settings.data))


def large_training_file(settings: DataSettings) -> Path | None:
    """The training file to be prepared on disk: a directory's only one, JSON Lines, of LARGE_BYTES or more, used
    whole, with a dev set beside it. None: the set is read into memory.
    """
    path = Path(settings.data).expanduser()
    if settings.limit_train or settings.concise_share or not path.is_dir():
        return None
    by_split = split_files(path)
    train = by_split.get("train", [])
    if len(train) != 1 or "dev" not in by_split or train[0].suffix.lower() not in (".jsonl", ".ndjson"):
        return None
    return train[0] if train[0].is_file() and train[0].stat().st_size >= LARGE_BYTES else None


def load_held_out(settings: DataSettings) -> Splits:
    """The dev and test sets of a directory whose training file is prepared on disk; `train` is empty."""
    report = ReportBuilder(settings.data)
    by_split = split_files(Path(settings.data).expanduser())
    tables = {split: [read_table(part) for part in parts] for split, parts in by_split.items() if split != "train"}
    sets = _to_sets(tables, settings, report)
    _find_duplicates(
        sets, {split: sketch([e.document for e in examples]) for split, examples in sets.items()}, False, report
    )
    dev, test = sets.get("dev", []), sets.get("test", [])
    return Splits(
        [], dev, test, report.build({"train": 0, "dev": len(dev), "test": len(test)}), source_name(settings.data)
    )


def load_examples(source: str, settings: DataSettings, split: Split, seed: int) -> tuple[list[Example], DataReport]:
    """The examples to evaluate on: one file whole, or one split of a directory or data set.

    Nothing is dropped as a duplicate here. Raises DataError like `load_splits`, and when the split does not exist.
    """
    report = ReportBuilder(source)
    tables = _tables(source, only=split)
    sets = _to_sets(tables, settings, report)
    if WHOLE in sets and not Path(source).expanduser().is_dir():
        report.note("a file given for evaluation is taken whole")
        sets = {split: sets[WHOLE]}
    elif split not in sets:
        sets = complete_splits(sets, settings.dev_fraction, seed, report)
    examples = sets.get(split, [])
    others = ", ".join(name for name in SPLITS if sets.get(name))
    if not examples and others:
        raise DataError(f"{source}: has no {split} examples, only {others}; choose with --split, or give one file")
    report.refuse_empty(len(examples))
    _find_duplicates({split: examples}, {split: sketch([e.document for e in examples])}, False, report)
    return examples, report.build({split: len(examples)})


def source_name(source: str) -> str:
    """A short name for run directories and reports: the last part of the path, without its suffix."""
    name = Path(source.rstrip("/\\")).name
    return name.removesuffix(Path(name).suffix) if Path(name).suffix.lower() in READERS else name


def _tables(source: str, only: str = "") -> dict[str, list[Table]]:
    """The tables of each split, or of the key WHOLE where the source has no splits.

    Where `only` names a split that the source has, the others are not read.
    """
    if not source.strip() or "\x00" in source:
        raise DataError(
            f"--data {shown(source)} names no source; give a directory, a file or one of {', '.join(NAMES)}"
        )
    try:
        path = Path(source).expanduser()
        is_directory, exists = path.is_dir(), path.exists()
    except (OSError, RuntimeError) as error:
        raise DataError(f"{shown(source)}: cannot be looked up ({getattr(error, 'strerror', None) or error})") from None
    if is_directory:
        by_split = split_files(path)
        if by_split:
            wanted = [only] if only in by_split else list(by_split)
            return {split: [read_table(part) for part in by_split[split]] for split in wanted}
        return {WHOLE: [read_table(only_file(path))]}
    if exists:
        return {WHOLE: [read_table(path)]}
    if source == "demo":
        return {split: [table] for split, table in demo_tables(only).items()}
    near = _neighbours(path)
    looks_like_path = (
        path.suffix.lower() in READERS
        or source.endswith(("/", "\\"))
        or source.startswith((".", "/", "~"))
        or (near and path.parent != Path())  # its folder is here, and something of nearly that name is in it
    )
    hub_set = None if looks_like_path else find_hub_set(source)
    if hub_set is None:
        known = f"data set names are {', '.join(NAMES)}, or owner/name on the Hub"
        raise DataError(f"{source}: there is no such file or directory{near}\n{known}")
    return {split: [table] for split, table in hub_tables(source, hub_set, only).items()}


def _neighbours(path: Path) -> str:
    try:
        names = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    except OSError:
        names = []
    if path.is_symlink():
        return f": it is a link to {shown(os.readlink(path))[1:-1]}, which is not there"
    near = nearest(path.name, names if path.parent != Path() else [*names, *NAMES])
    return f"; did you mean {shown(near)[1:-1]}?" if near else ""


def _to_sets(tables: Mapping[str, Sequence[Table]], settings: DataSettings, report: ReportBuilder) -> Sets:
    """Examples of each split. Raises DataError for unclear columns, and for bad rows under `on_bad_row` stop."""
    sets: Sets = {}
    stop = settings.on_bad_row == "stop"
    for split, parts in tables.items():
        whole = to_pairs(_joined(parts), report)
        if whole.columns:
            columns = choose_columns(whole.columns, whole.file, settings.document_column, settings.summary_column)
            report.note(f"columns: {columns}")
            report.columns = report.columns or dataclasses.asdict(columns)
        else:  # nothing but bad rows, if that: no column will be looked up
            columns = Columns("", "")
        sets[split] = to_examples(whole, columns, settings.min_document_words, split, report, empty_is_bad=stop)
    if stop:
        report.refuse_bad()
    return sets


def _note_longer_summaries(sets: Sets, report: ReportBuilder) -> None:
    """Tell how many summaries are no shorter than their document; where most are, the columns may be swapped."""
    pairs = [example for part in sets.values() for example in part if not example.messages]
    lengths = [(len(example.summary), len(example.document)) for example in pairs]
    longer = sum(summary >= document for summary, document in lengths)
    if longer:
        swapped = "; are the columns swapped? name them with --document-column and --summary-column"
        hint = swapped if longer > len(lengths) / 2 else ""
        report.note(f"{longer:,} of {len(lengths):,} summaries are as long as their document or longer{hint}")


def _joined(parts: Sequence[Table]) -> Table:
    """Parts of one split as one table; places name the part."""
    if len(parts) == 1:
        return parts[0]
    whole = Table(str(Path(parts[0].file).parent))
    for part in parts:
        name = Path(part.file).name
        whole.declare(part.columns)
        whole.bad.extend(part.bad)
        for row in part.rows:
            whole.add(f"{name}, {row.place}", row.values)
    return whole


def _find_duplicates(sets: Sets, sketches: Mapping[str, list[Sketch]], drop: bool, report: ReportBuilder) -> set[int]:
    """Count duplicates in every split. Returns the indices of train that are to be dropped."""
    gone: set[int] = set()
    for split in [name for name in SPLITS if name in sets]:
        dropped = drop and split == "train"
        for match in find_duplicates(sketches[split]):
            kind = "exact duplicates" if match.exact else "near duplicates"
            report.found(kind, split, "dropped" if dropped else "kept", sets[split][match.index].id)
            if dropped:
                gone.add(match.index)
    return gone


def _find_leaks(
    sets: Sets, sketches: Mapping[str, list[Sketch]], without: set[int], drop: bool, report: ReportBuilder
) -> set[int]:
    """Count training rows whose document is in dev or test too. Returns the indices that are to be dropped."""
    left = [index for index in range(len(sets.get("train", []))) if index not in without]
    held_out = [item for split in ("dev", "test") for item in sketches.get(split, [])]
    gone = set()
    for match in find_leaks([sketches["train"][index] for index in left], held_out):
        kind = "exact copies" if match.exact else "near copies"
        where = "dev" if match.of < len(sets.get("dev", [])) else "test"
        example = sets["train"][left[match.index]]
        report.found(f"{kind} of {where} documents", "train", "dropped" if drop else "kept", example.id)
        if drop:
            gone.add(left[match.index])
    return gone
