"""Scripts written without spaces between words, as the inside of a character class."""

from __future__ import annotations

import unicodedata
from functools import cache
from itertools import groupby

# Han and kana: each character is a word.
BY_CHARACTER = (
    "\u3005\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
# Thai, Lao, Burmese, Khmer: a dictionary tells the words.
BY_DICTIONARY = (
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e50-\u0e59\u0e81-\u0edf\u1000-\u1049\u1050-\u109f\u1780-\u17d3\u17d7\u17dc-\u17e9"
    "\ua9e0-\ua9fe\uaa60-\uaa7f"
)


@cache
def marks() -> str:
    """Every mark that belongs to the character before it (categories Mn, Mc)."""
    places = [
        place
        for place in (*range(0x300, 0x20000), *range(0xE0100, 0xE01F0))
        if unicodedata.category(chr(place)) in ("Mn", "Mc")
    ]
    runs = groupby(enumerate(places), key=lambda item: item[1] - item[0])
    return "".join(f"{chr(run[0][1])}-{chr(run[-1][1])}" for run in (list(items) for _, items in runs))
