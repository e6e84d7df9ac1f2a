"""What a summary states that its document does not hold: numbers, dates, names and quoted strings, each listed.

Surface rules, no second model: a flag is a reason to look, not proof of an error, and what is not flagged may still be
wrong. Rules lean towards silence: rounding, other spellings of a number, acronyms, demonyms and short names pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from common.errors import DataError
from common.metrics.names import LINKING_WORDS, KnownNames, Name, find_names, plain
from common.metrics.numbers import find_numbers, is_supported, known_values
from common.metrics.tokens import words

Kind = Literal["number", "date", "name", "quote"]
KINDS: tuple[Kind, ...] = ("number", "date", "name", "quote")

_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_CALENDAR_WORD = re.compile(
    r"\b(January|February|March|April|May|June|July|August|September|October|November|December"
    r"|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec"
    r"|Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday|Mon|Tues?|Wed|Thurs?|Fri|Sat|Sun)\b\.?"
)
_AMBIGUOUS = frozenset({"march", "may", "mar", "jan", "sun", "sat", "mon", "wed", "april", "june", "august"})
_NUMERIC_DATE = re.compile(r"\b(\d{1,4})[./-](\d{1,2})[./-](\d{1,4})\b")
_QUOTE = re.compile(
    r"“(?P<curly>[^“”]{2,}?)”|\"(?P<straight>[^\"]{2,}?)\"|«(?P<angle>[^«»]{2,}?)»|„(?P<low>[^„“”]{2,}?)[“”]"
    r"|(?<!\w)‘(?P<single>[^‘]{2,}?)’(?!\w)|(?<![^\s(\[“\"])'(?P<plain>[^'\s](?:[^']|'(?=\w)){1,}?)'(?!\w)"
)
_LEFT_OUT = re.compile(r"\.\.\.|…|\[[^\]]*\]|\([^)]*\)")
_BRACKETED = re.compile(r"(?:['’]s?)?\s*\(([A-Z][\w&.]*[A-Z])\)")
_POSSESSIVE = re.compile(r"^['’]s?(?!\w)")
_WORDS = re.compile(r"[^\W_]+")
# "two" and "one" mostly count what the document lists by name, and "first" is a turn of phrase.
_SMALLEST_WORD_NUMBER = 3.0


@dataclass(frozen=True)
class Unsupported:
    """A claim at offsets [start, end) of the summary that its document does not hold."""

    kind: Kind
    text: str
    start: int
    end: int


def unsupported_claims(document: str, summary: str) -> list[Unsupported]:
    """Numbers, dates, names and quoted strings of `summary` without support in `document`, in order, disjoint."""
    known = KnownNames(document)
    found = [
        *_quotes(document, summary),
        *_dates(document, summary),
        *_numbers(document, summary),
        *_names(known, summary),
    ]
    kept: list[Unsupported] = []
    for claim in found:
        if all(claim.end <= other.start or claim.start >= other.end for other in kept):
            kept.append(claim)
    return sorted(kept, key=lambda claim: claim.start)


def faithfulness(documents: Sequence[str], summaries: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """How many unsupported claims each summary makes: by kind (`unsupported_number`, …) and in all (`unsupported`).

    Arrays of shape (examples,). Raises DataError when the two lists differ in length.
    """
    if len(documents) != len(summaries):
        raise DataError(f"{len(summaries)} summaries for {len(documents)} documents: they must be paired one to one")
    table = np.zeros((len(summaries), len(KINDS)))
    for row, (document, summary) in enumerate(zip(documents, summaries, strict=True)):
        for claim in unsupported_claims(document, summary):
            table[row, KINDS.index(claim.kind)] += 1
    return {"unsupported": table.sum(axis=1), **{f"unsupported_{kind}": table[:, i] for i, kind in enumerate(KINDS)}}


def _quotes(document: str, summary: str) -> Iterator[Unsupported]:
    """Quoted strings whose words do not stand in the document in a row, gaps marked by `…` or brackets aside."""
    text = f" {' '.join(words(plain(document)))} "
    for match in _QUOTE.finditer(summary):
        parts = [words(plain(part)) for part in _LEFT_OUT.split(match[match.lastgroup or 0])]
        if any(part and f" {' '.join(part)} " not in text for part in parts):
            yield Unsupported("quote", match[0], match.start(), match.end())


def _dates(document: str, summary: str) -> Iterator[Unsupported]:
    """Months and weekdays that the document does not name."""
    known = {_calendar_form(match[1]) for match in _CALENDAR_WORD.finditer(document)}
    bare = {word.removesuffix("s") for word in _WORDS.findall(document.lower())}
    known |= bare.intersection((*_MONTHS, *_DAYS))
    for match in _NUMERIC_DATE.finditer(document):
        known |= {_MONTHS[int(piece) - 1] for piece in match.groups() if 1 <= int(piece) <= 12}
    for match in _CALENDAR_WORD.finditer(summary):
        if _calendar_form(match[1]) not in known and _is_date(summary, match):
            yield Unsupported("date", match[1], match.start(1), match.end(1))


def _calendar_form(word: str) -> str:
    start = word.lower()[:3]
    return next(name for name in (*_MONTHS, *_DAYS) if name.startswith(start))


def _is_date(text: str, match: re.Match[str]) -> bool:
    """Whether an ambiguous word (`May`, `March`, `Sun`) stands where a date would."""
    if match[1].lower() not in _AMBIGUOUS:
        return True
    before, after = text[: match.start()].rstrip(), text[match.end() :].lstrip()
    return bool(re.search(r"\b(?:in|on|by|since|until|from|of|last|next|this|early|late|mid|\d\w*)$", before)) or bool(
        re.match(r"\d", after)
    )


def _numbers(document: str, summary: str) -> Iterator[Unsupported]:
    """Numbers, and years as dates, whose value the document neither states nor implies."""
    values = known_values(document)
    for number in find_numbers(summary):
        if number.is_word and number.values[0] < _SMALLEST_WORD_NUMBER:
            continue
        if not is_supported(number, values):
            kind: Kind = "date" if number.is_year else "number"
            yield Unsupported(kind, summary[number.start : number.end], number.start, number.end)


def _names(known: KnownNames, summary: str) -> Iterator[Unsupported]:
    """Names the document knows in no form; neighbouring ones make one claim."""
    names = [name for name in find_names(summary) if not _CALENDAR_WORD.fullmatch(name.text)]
    unexpanded = [
        name
        for run in _runs(summary, names, LINKING_WORDS)
        if not _is_abbreviated(known, summary, run[0].start, run[-1].end)
        for name in run
    ]
    for part in _runs(summary, [name for name in unexpanded if not known.holds(name.text)]):
        start, end = part[0].start, part[-1].end
        yield Unsupported("name", summary[start:end], start, end)


def _is_abbreviated(known: KnownNames, summary: str, start: int, end: int) -> bool:
    """Whether the document has the name by its first letters, or by the acronym that follows it in brackets."""
    given = _BRACKETED.match(summary, end)
    return known.abbreviates(summary[start:end]) or (given is not None and known.holds(given[1]))


def _runs(text: str, names: list[Name], between: frozenset[str] = frozenset()) -> list[list[Name]]:
    """Names with nothing but spaces and the words of `between` from one to the next, together."""
    runs: list[list[Name]] = []
    for name in names:
        gap = _POSSESSIVE.sub("", text[runs[-1][-1].end : name.start]) if runs else ""
        if gap.strip() != gap and between.issuperset(gap.split()):
            runs[-1].append(name)
        else:
            runs.append([name])
    return runs
