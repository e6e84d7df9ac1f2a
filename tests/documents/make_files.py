"""Small PDF and Word files built in the test."""

from __future__ import annotations

import io
import zlib


def pdf_bytes(pages: list[list[str]], compressed: bool = True) -> bytes:
    """A PDF with one line of Helvetica below the other on each page."""
    objects: list[bytes] = []
    kids = " ".join(f"{4 + 2 * index} 0 R" for index in range(len(pages)))
    objects.append(b"<< /Type /Catalog /Pages 2 0 R >>")
    objects.append(f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode())
    objects.append(b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>")
    for index, lines in enumerate(pages):
        shown = "".join(f"1 0 0 1 72 {720 - 14 * row} Tm ({_escaped(line)}) Tj\n" for row, line in enumerate(lines))
        stream = f"BT /F1 11 Tf\n{shown}ET".encode("cp1252")
        coding = b""
        if compressed:
            stream, coding = zlib.compress(stream), b"/Filter /FlateDecode "
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {5 + 2 * index} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>".encode()
        )
        objects.append(b"<< %s/Length %d >>\nstream\n%s\nendstream" % (coding, len(stream), stream))
    out, offsets = io.BytesIO(b""), []
    out.write(b"%PDF-1.4\n")
    for number, body in enumerate(objects, 1):
        offsets.append(out.tell())
        out.write(b"%d 0 obj\n%s\nendobj\n" % (number, body))
    start = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    out.writelines(b"%010d 00000 n \n" % offset for offset in offsets)
    out.write(b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start))
    return out.getvalue()


def _escaped(line: str) -> str:
    return line.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")


def docx_bytes() -> bytes:
    """A Word file with a heading, two paragraphs, and a table of which one cell spans two columns."""
    import docx

    document = docx.Document()
    document.add_heading("The ferry stays", level=1)
    document.add_paragraph("The council voted on Tuesday.")
    table = document.add_table(rows=2, cols=3)
    for column, text in enumerate(("Port", "Cost", "Year")):
        table.cell(0, column).text = text
    table.cell(1, 0).merge(table.cell(1, 1)).text = "Orrin, free"
    table.cell(1, 2).text = "2029"
    document.add_paragraph("It leaves at night.")
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()
