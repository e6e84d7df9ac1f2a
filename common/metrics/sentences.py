"""Sentence splitting by rules, without a download: for ROUGE-Lsum, Lead-n and the extractive oracle.

A line break always ends a sentence. Made for prose in English and tested on French, Hindi and Chinese; knows
nothing of tokens or scores.
"""

from __future__ import annotations

import re


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Before a name, number or explanation: never the end of a sentence.
_NEVER_LAST = _words(
    """
    mr mrs ms messrs mx dr prof sen rep gov gen col lt capt cmdr sgt maj adm rev hon pres supt st mt ft vs v e.g
    i.e cf viz fig figs eq eqs eqn tab sec ch ref refs no nos nr pp vol approx ca mme mlle bzw z.b d.h usw
    """
)
# Last only when a word that likes to start a sentence follows.
_SOMETIMES_LAST = _words(
    """
    inc ltd co corp jr sr al etc a.m p.m ph.d b.sc m.sc dept univ est jan feb mar apr jun jul aug sep sept oct
    nov dec mon tue wed thu fri sat sun ave blvd rd
    """
)
_STARTERS = _words(
    """
    the a an he she it they we you i this that these those there here his her its their our my but and or so if
    when while although after before in on at for as from with however also then what who how why where
    meanwhile
    """
)
_BOUNDARY = re.compile(
    r"""\s*\n\s*                                     # a line break
      | [。！？｡]+[」』”’）\)]*\s*                      # no space needed
      | (?P<mark>[.!?…।॥؟۔]+)["'”’»)\]]*[^\S\n]+(?=\S)   # a space needed""",
    re.VERBOSE,
)
_FIRST_WORD = re.compile(r"[^\W\d_]+(?:['’][a-z]+)?")
_OPENING = "\"'“‘«([{¿¡#*-–—•"


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Offsets (start, end) of the sentences in `text`, in order, white space at both ends left out."""
    lower_case = text.islower()
    spans: list[tuple[int, int]] = []
    start = len(text) - len(text.lstrip())
    for match in _BOUNDARY.finditer(text, start):
        mark = match["mark"]
        if mark and not _ends_sentence(text, start, match, mark, lower_case):
            continue
        end = match.start() + len(match[0].rstrip())
        if end > start:
            spans.append((start, end))
        start = match.end()
    end = len(text.rstrip())
    if end > start:
        spans.append((start, end))
    return spans


def split_sentences(text: str) -> list[str]:
    """The sentences of `text` in order, stripped, none empty."""
    return [text[start:end] for start, end in sentence_spans(text)]


def _ends_sentence(text: str, start: int, match: re.Match[str], mark: str, lower_case: bool) -> bool:
    """Whether `mark`, which white space and more text follow, ends the sentence that began at `start`.

    In a text that is all lower case, what follows cannot tell.
    """
    at, following = match.span("mark")[0], match.end()
    first = text[following]
    if not first.isalnum():
        rest = text[following:].lstrip(_OPENING)
        following = len(text) - len(rest)
        first = rest[:1]
    if first.islower() and not lower_case:
        return text[at - 1].isspace()  # tokenized text has its full stops apart
    if mark != ".":
        return True
    last = text[max(start, text.rfind(" ", start, at) + 1) : at]
    word = last.lstrip(_OPENING).lower()
    if not word:
        return at > start
    if word.isdigit() and at - len(last) <= start:
        return False  # "1. First item"
    if word in _NEVER_LAST:
        return False
    if word in _SOMETIMES_LAST or "." in word or (len(word) == 1 and word.isalpha()):
        starter = _FIRST_WORD.match(text, following)
        return starter is not None and starter[0].lower() in _STARTERS and not lower_case
    return True
