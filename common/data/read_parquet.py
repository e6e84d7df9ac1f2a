"""Parquet files as a `Table`, through pyarrow. Knows nothing of columns' meaning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common.data.table import Table, check_readable, shown
from common.errors import DataError


def read_parquet(path: Path) -> Table:
    """Every row. Raises DataError when the file is damaged or no Parquet file."""
    import pyarrow
    from pyarrow import parquet

    check_readable(path)
    table = Table(str(path))
    try:
        with parquet.ParquetFile(path) as file:
            table.declare(_column_names(file.schema_arrow.names, table.file))
            number = 0
            for batch in file.iter_batches(batch_size=1024):
                number = _take_batch(table, batch, number)
    except (pyarrow.ArrowException, OSError, ValueError, KeyError, OverflowError) as error:
        reason = shown(str(error).strip().split("\n")[0], 120)[1:-1]
        raise DataError(f"{path}: is not a readable Parquet file ({reason}); write or download it again") from None
    return table


def _column_names(names: list[str], file: str) -> list[str]:
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"{file}: two columns are named {shown(name)}; rename one of them")
    return names


def _take_batch(table: Table, batch: Any, number: int) -> int:
    """Add a batch's rows; where a column holds bytes that are not UTF-8, only the rows concerned are rejected."""
    try:
        rows = batch.to_pylist()
    except UnicodeDecodeError:
        rows = [_row(batch, index) for index in range(batch.num_rows)]
    for row in rows:
        number += 1
        if row is None:
            table.reject(f"row {number}", "is not UTF-8; write the file again with UTF-8 text")
        else:
            table.add(f"row {number}", row)
    return number


def _row(batch: Any, index: int) -> dict[str, Any] | None:
    try:
        values: dict[str, Any] = batch.slice(index, 1).to_pylist()[0]
    except UnicodeDecodeError:
        return None
    return values
