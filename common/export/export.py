"""From a run to a finished export: written aside, run and compared, described, and only then put in its place."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import ModelError, UsageError
from common.export.card import CardFacts, is_export, write_card
from common.export.catalogue import find_format
from common.export.check import Verification, choose_sample, verify
from common.export.source import ExportOptions, open_source
from common.files import remove, write_atomically
from common.progress import note
from common.text.amounts import duration


@dataclass(frozen=True)
class CheckOptions:
    """How an export is checked: on how many documents, and on which (a file; empty: the run's own)."""

    documents: int = 8
    file: str = ""


@dataclass(frozen=True)
class Exported:
    """A finished export. `files` are (name, bytes); `verification` is None where none was asked for."""

    format: str
    path: Path
    files: tuple[tuple[str, int], ...]
    notes: tuple[str, ...]
    verification: Verification | None

    @property
    def bytes(self) -> int:
        return sum(size for _, size in self.files)

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "format": self.format,
            "path": str(self.path),
            "files": dict(self.files),
            "bytes": self.bytes,
            "notes": list(self.notes),
            "verification": self.verification.as_dict() if self.verification else None,
        }


def default_path(run: Path, name: str, options: ExportOptions) -> Path:
    """`RUN/export/<format>`, with the type of the file for formats that hold GGUF."""
    suffix = f"-{options.gguf_type}" if name in ("gguf", "ollama", "space") else ""
    return run / "export" / f"{name}{suffix}"


def export_run(
    run: Path,
    name: str,
    out: Path | None = None,
    options: ExportOptions | None = None,
    check: CheckOptions | None = None,
    engine: str = "auto",
    overwrite: bool = False,
    repository: str = "",
) -> Exported:
    """Export a run; without `check` nothing is run and the card says so. `repository` is where it is to be uploaded.

    `overwrite` replaces an earlier export or an empty folder, nothing else.
    Raises ModelError, and leaves nothing behind, when the export does not answer as the run does; UsageError for an
    unknown format or an `out` that is there already; otherwise what reading, writing or running raises.
    """
    options = options or ExportOptions()
    chosen = find_format(name)
    target = Path(os.path.abspath(out)) if out else default_path(run, name, options)
    _check_target(target, overwrite)
    source = open_source(run, engine)
    sample = choose_sample(source, check.documents, check.file) if check else None
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.exporting")
    remove(aside)
    aside.mkdir()
    try:
        began = time.monotonic()
        notes = tuple(chosen.write(source, options, aside))
        note(f"written in {duration(time.monotonic() - began)}" + ("; now running it" if sample else ""))
        found = verify(source, options, chosen, aside, sample) if sample else None
        if found and not found.passed:
            measured = "\n".join(f"  {line}" for line in found.lines())
            raise ModelError(
                f"the {name} export does not answer as the run does: {'; '.join(found.problems)}\n{measured}\n"
                "nothing was kept"
            )
        title = re.sub(r"\s+", "-", source.run.path.resolve().name)
        write_card(CardFacts(source, options, chosen, notes, found, title, repository or target.name), aside)
        write_atomically(target, aside.rename)
    finally:
        remove(aside)
    files = tuple(
        (str(path.relative_to(target)), path.stat().st_size) for path in sorted(target.rglob("*")) if path.is_file()
    )
    return Exported(name, target, files, notes, found)


def _check_target(target: Path, overwrite: bool) -> None:
    """Raise UsageError where something is that an export must not take the place of."""
    if not os.path.lexists(target):
        return
    if not target.is_dir() or target.is_symlink() or (any(target.iterdir()) and not is_export(target)):
        raise UsageError(f"{target} is there already and is no export of sumkit; give another --out")
    if not overwrite and any(target.iterdir()):
        raise UsageError(f"{target} is there already; add --overwrite to replace it, or give another --out")
    if Path.cwd().is_relative_to(target.resolve()):
        raise UsageError(f"{target} is the folder this was started in; start it elsewhere, or give another --out")
