"""Sentence splitting by rules and lists of abbreviations, without a model: for scores, leads and long documents.

A line break always ends a sentence. Measured on hand-made cases in 15 languages, beside ICU, pysbd and others
(docs/dependencies.md); knows nothing of tokens or scores.
"""

from __future__ import annotations

import re
from functools import cached_property

from common.metrics.abbreviations import Abbreviations, abbreviations
from common.metrics.language import detect_language

_CLOSING = "\"'”’»›«)\\]」』】》〉）］｝〗"
_BOUNDARY = re.compile(
    rf"""\s*\n\s*                                                            # a line break
      | (?P<wide>…*[。！？｡．।॥۔።။][。！？!?…]*|…{{2,}})(?P<wide_closing>[{_CLOSING}]*)[^\S\n]*  # no space needed
      | (?P<glued>[.!?؟]+)[{_CLOSING}]*(?=[\u3041-\u30ff\u4e00-\u9fff])        # nor before Chinese and Japanese
      | (?P<mark>[.!?…؟]+)(?P<closing>[{_CLOSING}“‘]*)[^\S\n]+(?=\S)           # a space needed
      | (?<=[\u0e00-\u0e7f])[^\S\n]+(?=อย่างไรก็ตาม|นอกจากนี้|ทั้งนี้|ดังนั้น|จากนั้น|ขณะเดียวกัน|ต่อมา)   # Thai has no full stop:
      | (?:(?<=ครับ)|(?<=ค่ะ)|(?<=คะ)|(?<=นะ))[^\S\n]+(?=\S)                    # openers and polite particles tell""",
    re.VERBOSE,
)
_OPENING = "\"'“‘„‚«»‹([{¿¡#*-–—•「『（《〈【 "
_WORD = re.compile(r"[^\s.,;:!?…।\"»”)]+")
_SPACED_ENDING = re.compile(r"[»”\"](?=\s|$)\s*")
_DUTCH_OPENING = re.compile(r"['’][stn] [A-Z]")
_LABEL = re.compile(r"\d{1,3}|[^\W\d_]|[ivxIVX]{1,5}")
_ROMAN = re.compile(r"[IVXLC]{1,7}")
_IDEOGRAPH = re.compile(r"[\u3041-\u30ff\u4e00-\u9fff]")
_SHORT_PIECES = re.compile(r"[^\W\d_]{1,2}(?:\.-?[^\W\d_]{1,2})+")
_ELISION = re.compile(r"[^\W\d_]{1,4}['’](?=[^\W\d_]{2})")
# After a quotation, what shows that its sentence goes on: a particle, or somebody who speaks.
_GOES_ON = re.compile(
    r"(?:と|って|[はがをにのも、，])"
    r"|[^，。！？：；、\s“”「」]{0,8}?(?:[说說道问問喊叫嚷]道?[着著了]?(?=[，。！？：:；]|$)|(?:叫ん|言っ|言い|聞い|尋ね|答え)[^，。！？：；、]{0,4}[。、])"
)
_SOMEBODY_SPEAKS = re.compile(
    r"(?:[^\W\d_][\w.'’-]* ){1,3}(?:said|says|asked|asks|shouted|cried|replied|answered|added|whispered|called)\b"
)


def sentence_spans(text: str, language: str | None = None) -> list[tuple[int, int]]:
    """Offsets (start, end) of the sentences in `text`, in order, white space at both ends left out.

    `language` (ISO 639-1) chooses the abbreviations; None finds it out where it matters. No sentence consists of
    punctuation alone, unless the text does.
    """
    reader = _Reader(text, language)
    spans: list[tuple[int, int]] = []
    start = len(text) - len(text.lstrip())
    for match in _BOUNDARY.finditer(text, start):
        end, following = match.start() + len(match[0].rstrip()), match.end()
        if match.end() <= start:
            continue
        if "\n" not in match[0]:
            ending = reader.spaced_ending(following)
            if ending is not None:
                end, following = following + 1, ending.end()
            if not reader.ends_sentence(start, match, following):
                continue
        start = _close(text, spans, start, end, following)
    _close(text, spans, start, len(text.rstrip()), len(text), last=True)
    return spans


def split_sentences(text: str, language: str | None = None) -> list[str]:
    """The sentences of `text` in order, stripped, none empty."""
    return [text[start:end] for start, end in sentence_spans(text, language)]


def _close(text: str, spans: list[tuple[int, int]], start: int, end: int, following: int, last: bool = False) -> int:
    """End a sentence, and return where the next one starts. One without a letter or digit joins its neighbor."""
    if end <= start:
        return max(start, following)
    if end - start > 20 or any(map(str.isalnum, text[start:end])):
        spans.append((start, end))
    elif spans:
        spans[-1] = (spans[-1][0], end)
    elif last:
        spans.append((start, end))
    else:
        return start
    return following


class _Reader:
    """One text, with its language and lists found when they are first needed."""

    def __init__(self, text: str, language: str | None) -> None:
        self.text = text
        self.lower_case = text.islower()
        self._language = language

    @cached_property
    def lists(self) -> Abbreviations:
        return abbreviations(detect_language([self.text[:2000]]) if self._language is None else self._language)

    def spaced_ending(self, place: int) -> re.Match[str] | None:
        """A closing quotation mark at `place` that white space stands before and after, with that after it."""
        found = _SPACED_ENDING.match(self.text, place)
        if found is None or not self.text[place - 1].isspace():
            return None
        line = self.text.rfind("\n", 0, place) + 1
        is_open = self.text.count('"', line, place) % 2 == 1
        return found if is_open or self.text[place] != '"' else None

    def ends_sentence(self, start: int, match: re.Match[str], following: int) -> bool:
        """Whether the marks of `match`, which `following` comes after, end the sentence that began at `start`."""
        text = self.text
        if match["wide"]:
            if match["wide"] == "．" and text[following : following + 1].isdigit():
                return False
            return not (set('”’」』"').intersection(match["wide_closing"]) and _GOES_ON.match(text, following))
        if match["glued"]:
            return match["glued"] != "." or _IDEOGRAPH.match(text, match.start() - 1) is not None
        if not match["mark"]:
            return True  # a Thai boundary
        return self._mark_ends(start, match, following)

    def _mark_ends(self, start: int, match: re.Match[str], following: int) -> bool:
        """In a text that is all lower case, what follows a mark cannot tell."""
        text, mark, at = self.text, match["mark"], match.start("mark")
        rest = text[following : following + 60]
        opened = rest.lstrip(_OPENING)
        word = _WORD.match(opened)
        first = word[0] if word else ""
        if first[:1].islower() and not self.lower_case and not _DUTCH_OPENING.match(rest):
            spaced = mark == "." and text[at - 1].isspace()  # tokenized text has its full stops apart
            return spaced or (first[:1].isascii() and any(map(str.isupper, first[1:2])))  # iPhone
        if mark != ".":
            quoted = set("\"”’'»").intersection(match["closing"])
            return not (quoted and _SOMEBODY_SPEAKS.match(rest))
        if len(first) == 1 and first.isalpha() and opened[1:2] == ".":
            first = ""  # an initial, not a word
        return self._full_stop_ends(start, at, first)

    def _full_stop_ends(self, start: int, at: int, first: str) -> bool:
        """Whether the full stop at `at` ends the sentence that began at `start`, where the word `first` comes next."""
        text = self.text
        before = text[max(start, at - 60) : at]
        tokens = before.split()
        last = tokens[-1].lstrip(_OPENING) if tokens and not before[-1:].isspace() else ""
        previous = tokens[-2].strip(_OPENING + ".,").lower() if len(tokens) > 1 else ""
        word = _ELISION.sub("", last.lower())
        if not word:
            return at > start
        if word.endswith("str"):
            word = "str"  # Bahnhofstr. 12
        if "\u0e00" <= word[-1] <= "\u0e7f":
            return False  # Thai marks abbreviations with a full stop, and nothing else
        is_number = word.isdigit() or _ROMAN.fullmatch(last) is not None
        if not (is_number or len(word) < 2 or word in abbreviations("").every or _SHORT_PIECES.fullmatch(word)):
            return True
        lists = self.lists
        opens = not self.lower_case and (first.lower() in lists.openers or _elided(first) in lists.openers)
        numbered = first[:1].isdigit() or _ROMAN.fullmatch(first) is not None
        if at - len(last) <= start and _LABEL.fullmatch(last) and (not opens or word.isdigit()):
            return False  # "1. First item", "A. Smith"
        if word in lists.never_last or (last.istitle() and len(last) > 1 and word in lists.titles):
            return False
        if word in lists.before_number and numbered:
            return False
        if word in lists.list_end:
            return opens or first[:1].isupper()
        if word in lists.maybe_last:
            return opens
        if is_number:
            return previous in lists.before_number or not self._is_ordinal(last, previous, first, opens)
        if len(word) == 1 and word.isalpha():
            return opens or previous[-1:].isdigit()  # an initial, or a unit: "80 m."
        return opens or not _SHORT_PIECES.fullmatch(word)

    def _is_ordinal(self, number: str, previous: str, first: str, opens: bool) -> bool:
        """`3. Mai`, `II. Mehmed`, in languages that write ordinals so."""
        lists = self.lists
        if not lists.ordinals or (len(number) > 2 and number.isdigit()) or opens:
            return False
        if first[:1].isdigit() or first.lower() in lists.after_ordinal or not number.isdigit():
            return True
        return not lists.before_ordinal or previous in lists.before_ordinal


def _elided(word: str) -> str:
    """`l'` of `L'été`."""
    prefix, apostrophe, _ = word.lower().replace("’", "'").partition("'")
    return prefix + apostrophe
