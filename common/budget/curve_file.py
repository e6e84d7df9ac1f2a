"""Losses at growing training sizes, from a CSV file or from a run made with `sumkit train --learning-curve`.

Two layouts are read. Long: a column of sizes and one of losses, and a `model` column where there are several curves.
Wide: a row for each curve and a column for each size, named by the number. Size 0 (the untuned model) is left out,
because the law describes fine-tuned models only. Knows nothing of how a curve is projected.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from common.errors import DataError

RUN_FILE = "learning_curve.csv"
SETTINGS_FILE = "learning_curve.yaml"  # the settings of all its runs
SIZE_COLUMNS = ("examples", "size", "train_examples", "train_size", "n", "d")
LOSS_COLUMNS = ("loss", "dev_loss", "test_loss", "eval_loss", "validation_loss", "val_loss")
NAME_COLUMNS = ("model", "name", "config name", "run")


@dataclass(frozen=True)
class Curve:
    """Losses of one model at growing numbers of training examples."""

    name: str
    sizes: tuple[float, ...]
    losses: tuple[float, ...]


def read_curves(path: Path) -> list[Curve]:
    """The curves of a CSV file or run directory. Raises DataError that lists every row that cannot be used."""
    file = path / RUN_FILE if path.is_dir() else path
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        hint = "; make one with sumkit train --learning-curve" if path.is_dir() else ""
        raise DataError(f"learning curve: {file} does not exist{hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"learning curve: {file} cannot be read ({error})") from None
    reader = csv.reader(text.splitlines())
    rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    if len(rows) < 2:
        raise DataError(f"learning curve: {file} holds no rows below its header")
    header = [cell.strip() for cell in rows[0][1]]
    if len(header) > 1 and all(_number(cell) is not None for cell in header) and not _grows(header):
        raise DataError(
            f"learning curve: {file} begins with numbers ({', '.join(header)}) that are no training sizes; give it a "
            "first line such as examples,loss"
        )
    lower = [cell.lower() for cell in header]
    size, loss = _first(lower, SIZE_COLUMNS), _first(lower, LOSS_COLUMNS)
    if size is not None and loss is not None:
        return _read_long(file, rows[1:], size, loss, _first(lower, NAME_COLUMNS))
    columns = {index: value for index, cell in enumerate(header) if (value := _number(cell)) is not None and value > 0}
    if columns:
        return _read_wide(file, rows[1:], columns)
    raise DataError(
        f"learning curve: {file} has columns {', '.join(header)}; it needs one of {', '.join(SIZE_COLUMNS)} and one of "
        f"{', '.join(LOSS_COLUMNS)}, or a column for each training size, named by the number"
    )


def _grows(header: list[str]) -> bool:
    """Whether a header of numbers can be training sizes in order: whole, and each larger than the one before."""
    sizes = [float(cell) for cell in header]
    return all(size == int(size) for size in sizes if math.isfinite(size)) and sizes == sorted(set(sizes))


def _first(columns: list[str], known: tuple[str, ...]) -> int | None:
    return next((columns.index(name) for name in known if name in columns), None)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _read_long(file: Path, rows: list[tuple[int, list[str]]], size: int, loss: int, name: int | None) -> list[Curve]:
    points: dict[str, list[tuple[float, float]]] = {}
    problems = []
    for line, row in rows:
        cells = [row[index] if index < len(row) else "" for index in (size, loss)]
        at, value = (_number(cell) for cell in cells)
        if at is None or value is None:
            problems.append(f"{file}, line {line}: size {cells[0]!r} and loss {cells[1]!r} must both be numbers")
        elif at != 0:
            curve = row[name] if name is not None and name < len(row) else file.stem
            points.setdefault(curve, []).append((at, value))
    _stop_at(problems)
    return [_curve(curve, found) for curve, found in points.items()]


def _read_wide(file: Path, rows: list[tuple[int, list[str]]], columns: dict[int, float]) -> list[Curve]:
    curves, problems = [], []
    for line, row in rows:
        found = []
        for index, at in columns.items():
            cell = row[index].strip() if index < len(row) else ""
            value = _number(cell)
            if value is not None:
                found.append((at, value))
            elif cell:  # an empty cell is a size that was not measured
                problems.append(f"{file}, line {line}: loss {cell!r} at size {at:g} is not a number")
        curves.append(_curve(row[0] if 0 not in columns else f"line {line}", found))
    _stop_at(problems)
    return curves


def _curve(name: str, points: list[tuple[float, float]]) -> Curve:
    points = sorted(points)
    return Curve(name, tuple(size for size, _ in points), tuple(loss for _, loss in points))


def _stop_at(problems: list[str]) -> None:
    if problems:
        raise DataError("\n".join(problems))
