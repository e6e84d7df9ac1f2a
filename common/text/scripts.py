"""Scripts written without spaces between words (Thai, Lao, Burmese, Khmer, kana, Han): each character is a word."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

# Inside of a character class.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3041-\u309f\u30a1-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)


@cache
def marks() -> str:
    """Every mark that belongs to the character before it (categories Mn, Mc), as the inside of a character class."""
    places = (*range(0x300, 0x20000), *range(0xE0100, 0xE01F0))
    return "".join(chr(place) for place in places if unicodedata.category(chr(place)) in ("Mn", "Mc"))


@cache
def unspaced_character() -> re.Pattern[str]:
    """Matches one character of such a script with its marks."""
    return re.compile(f"[{UNSPACED}][{marks()}]*")
