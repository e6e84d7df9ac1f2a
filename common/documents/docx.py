"""Word documents (.docx) to plain text: paragraphs and tables in their order."""

from __future__ import annotations

import io
import zipfile
from typing import Any

from common.errors import DataError

MOST_UNPACKED_BYTES = 256 << 20  # a document is text and pictures; more than this is a compression bomb


def read(data: bytes) -> tuple[str, str]:
    """(text, note). Headers, footers, notes and comments are left out. Raises DataError for a damaged file."""
    import docx

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > MOST_UNPACKED_BYTES:
            raise DataError(f"unpacks to {unpacked >> 20} MB, more than {MOST_UNPACKED_BYTES >> 20} MB; cut pictures")
        document = docx.Document(io.BytesIO(data))
        blocks = [_block_text(block) for block in document.iter_inner_content()]
    except DataError:
        raise
    except Exception as error:  # the library raises many kinds; each means that the file is damaged
        remedy = "open it in a word processor and save it again"
        raise DataError(f"is damaged or no Word document ({error}); {remedy}") from None
    return "\n\n".join(block for block in blocks if block), ""


def _block_text(block: Any) -> str:
    """A paragraph's text, or a table with one line a row; a cell that spans several is there once."""
    if not hasattr(block, "rows"):
        return str(block.text).strip()
    lines = []
    for row in block.rows:
        cells = {id(cell._tc): cell.text.strip().replace("\n", " ") for cell in row.cells}
        lines.append(" | ".join(cell for cell in cells.values() if cell))
    return "\n".join(line for line in lines if line)
