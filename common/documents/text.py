"""Plain text from bytes in whatever encoding they are."""

from __future__ import annotations

import codecs

from common.errors import DataError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is the beginning of this one
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAMPLE_BYTES = 200_000  # of a file that is not UTF-8, enough to tell its encoding
USUAL = "cp1252"  # Windows in western Europe: taken where it fits about as well as its rarer neighbours
_SMALL_CHAOS = 0.1


def read(data: bytes) -> tuple[str, str]:
    """(text, note). UTF-8, or what a byte-order mark says, or the most likely encoding, which is then noted.

    Raises DataError where no encoding fits.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _decoded(data, encoding), ""
    try:
        return data.decode("utf-8"), ""
    except UnicodeDecodeError:
        encoding = _guess(data)
    return _decoded(data, encoding), f"not UTF-8; read as {encoding}"


def _guess(data: bytes) -> str:
    from charset_normalizer import from_bytes

    sample = data[:_SAMPLE_BYTES]
    likely = list(from_bytes(sample))
    if not likely or b"\0" in sample:
        raise DataError("is not text in any known encoding; save it as UTF-8")
    usual = [match for match in likely if match.encoding == USUAL and match.coherence >= likely[0].coherence]
    return USUAL if usual and usual[0].chaos <= _SMALL_CHAOS else str(likely[0].encoding)


def _decoded(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(f"is not valid {encoding} at byte {error.start}; save it as UTF-8") from None
