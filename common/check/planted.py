"""Errors planted into true summaries: what a checker has to find before its figures mean anything.

Six kinds, after the errors that people mark in generated summaries (Kryscinski et al. 2020, FactCC; Pagnoni et al.
2021, FRANK): another entity, another number or date, two parties exchanged, the opposite, a clause of another
document, and two true things in a relation that the document does not state. Sentences stay fluent where rules can
keep them so; all are drawn from a seed. Negation, clause and relation know English only; the others work wherever
names and numbers are found.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from common.metrics.names import find_names
from common.metrics.numbers import find_numbers, known_values
from common.metrics.sentences import sentence_spans

PlantedKind = Literal["entity", "number", "exchange", "negation", "clause", "relation"]


def _list(words: str) -> list[str]:
    return words.split()


_AUXILIARIES = "is|are|was|were|has|have|had|can|could|will|would|should|may|might|must|does|did"
_AUXILIARY = re.compile(rf"\b(?:{_AUXILIARIES})\b(?! not\b|n['’]t)", re.IGNORECASE)
_NEGATED = re.compile(
    rf"\b(?P<verb>{_AUXILIARIES}|do)(?: not\b|n['’]t\b)|\b(?:cannot|never|no longer)\b", re.IGNORECASE
)
_OPPOSITES = [
    tuple(pair.split("/"))
    for pair in _list(
        """
        more/fewer higher/lower rise/fall rises/falls rose/fell risen/fallen rising/falling
        increase/decrease increases/decreases increased/decreased increasing/decreasing grow/shrink
        grew/shrank growing/shrinking before/after with/without wins/loses won/lost win/lose
        winning/losing accept/reject accepts/rejects accepted/rejected agree/refuse agrees/refuses
        agreed/refused allow/forbid allows/forbids allowed/forbade open/close opens/closes opened/closed
        buy/sell buys/sells bought/sold arrive/leave arrives/leaves arrived/left start/stop starts/stops
        started/stopped begins/ends began/ended best/worst better/worse good/bad first/last most/least
        many/few all/none always/never success/failure succeed/fail succeeded/failed improve/worsen
        improves/worsens improved/worsened gain/loss gains/losses strong/weak stronger/weaker early/late
        earlier/later cheap/expensive cheaper/dearer safe/dangerous large/small larger/smaller
        older/newer likes/dislikes liked/disliked love/hate loves/hates support/oppose supports/opposes
        supported/opposed remember/forget remembers/forgets remembered/forgot found/lost join/leave
        joins/leaves joined/left borrow/lend borrows/lends borrowed/lent add/remove adds/removes
        added/removed keep/drop keeps/drops kept/dropped outperform/underperform
        outperforms/underperforms fast/slow faster/slower efficient/inefficient free/costly
        inside/outside happy/unhappy
        """
    )
]
_OPPOSITE = {a: b for pair in _OPPOSITES for a, b in (pair, pair[::-1])}
_NUMBER_WORDS = _list("two three four five six seven eight nine ten eleven twelve fifteen twenty thirty forty fifty")
_DAYS = _list("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
_MONTHS = _list("January February March April May June July August September October November December")
_CALENDAR = re.compile(rf"\b(?:{'|'.join(_DAYS + _MONTHS)})\b")
_PLACE_BEFORE = re.compile(r"\b(?:in|at|near|from|to|into|across|around)\s+(?:the\s+)?$", re.IGNORECASE)
_PARTY = re.compile(
    r"\b(?:the|a|an|his|her|its|their|our|my|this|that|two|three|four|some|many|several)\s+(?:[a-z][\w’'-]*\s+){0,1}?"
    r"[a-z][\w’'-]{2,}(?=\s+(?:is|are|was|were|has|have|had|will|can|could|would|of|for|to|in|on|at|with|by|from|and|but|"
    r"or|because|after|before|when|while|that|which|who)\b|[,.;:!?]|$)"
)  # fmt: skip
_CONNECTOR = re.compile(
    r"\b(?:because|after|before|when|while|although|so that|in order to|to|for|by|with|without|from|at|in|on|about|"
    r"against|until|since|that|which|who|due to|thanks to)\b"
)
_NOMINAL = re.compile(r"(?:the|an?|his|her|its|their|our|my|your|this|that|these|those)\b|[^a-z]")
_WORD = re.compile(r"[^\W_]+")
_LEAST_TAIL_WORDS = 2
_TRIES = 8
_OTHERS = 12


@dataclass(frozen=True)
class Planted:
    """A summary with one error at [start, end): `index` is the row of the true one."""

    index: int
    kind: PlantedKind
    summary: str
    start: int
    end: int


def plant_errors(rows: Sequence[tuple[str, str]], seed: int = 0, each: int = 0) -> list[Planted]:
    """Every kind of error once in every (document, true summary) that it can be planted in; with `each`, in so many
    rows of each kind at most, spread over the kinds evenly.
    """
    found: list[Planted] = []
    for kind, maker in _MAKERS.items():
        generator = random.Random(f"{seed} {kind}")
        order = generator.sample(range(len(rows)), len(rows))
        made = 0
        for index in order:
            document, summary = rows[index]
            change = maker(document, summary, _others(rows, index, generator), generator)
            if change is None or change[2].lower() == summary[change[0] : change[1]].lower():
                continue
            start, end, text = change
            found.append(Planted(index, kind, summary[:start] + text + summary[end:], start, start + len(text)))
            made += 1
            if each and made == each:
                break
    return found


Change = tuple[int, int, str] | None  # [start, end) of the summary becomes the text


def _others(rows: Sequence[tuple[str, str]], index: int, generator: random.Random) -> list[tuple[str, str]]:
    """Some other rows, or the row itself where there is no other."""
    places = generator.sample(range(len(rows)), min(len(rows), _OTHERS + 1))
    return [rows[place] for place in places if place != index][:_OTHERS] or [rows[index]]


def _entity(document: str, summary: str, others: list[tuple[str, str]], generator: random.Random) -> Change:
    """A name becomes another one of the same kind: of this document where it has one, else of another document."""
    names = _names(summary)
    if not names:
        return None
    start, end = generator.choice(names)
    is_place = bool(_PLACE_BEFORE.search(summary[:start]))
    for text, strict in ((document, True), (document, False), (others[0][0], True), (others[0][0], False)):
        choices = sorted(
            {
                text[a:b]
                for a, b in _names(text)
                if (not strict or bool(_PLACE_BEFORE.search(text[:a])) == is_place)
                and not _shares_word(text[a:b], summary)
            }
        )
        if choices:
            return start, end, generator.choice(choices)
    return None


def _number(document: str, summary: str, _: list[tuple[str, str]], generator: random.Random) -> Change:
    """A number, weekday or month becomes another one, of the document where it has one of that form."""
    places: list[tuple[int, int, list[str]]] = []
    known = known_values(document)
    stated = [(document[n.start : n.end], n) for n in find_numbers(document)]
    for number in find_numbers(summary):
        text = summary[number.start : number.end]
        if summary[number.start - 1 : number.start] == ":" or summary[number.end : number.end + 1] == ":":
            continue  # a part of a time of day
        if number.is_word:
            if text.lower() in _NUMBER_WORDS:
                places.append((number.start, number.end, [w for w in _NUMBER_WORDS if w != text.lower()]))
            continue
        same_form = [
            shown
            for shown, other in stated
            if not other.is_word and other.is_year == number.is_year and other.values[0] not in number.values
            and len(shown) <= len(text) + 2
        ]  # fmt: skip
        places.append((number.start, number.end, same_form or _changed_digits(text, known, generator)))
    for match in _CALENDAR.finditer(summary):
        names = _DAYS if match[0] in _DAYS else _MONTHS
        places.append((*match.span(), [name for name in names if name != match[0]]))
    places = [place for place in places if place[2]]
    if not places:
        return None
    start, end, choices = generator.choice(places)
    return start, end, generator.choice(sorted(set(choices)))


def _changed_digits(text: str, known: set[float], generator: random.Random) -> list[str]:
    """The number with its first digit another one, so that the document does not state it."""
    at = next((i for i, c in enumerate(text) if c.isdecimal() and c.isascii()), None)
    if at is None:
        return []
    changed = [text[:at] + digit + text[at + 1 :] for digit in "123456789" if digit != text[at]]
    fresh = [new for new in changed if all(v not in known for n in find_numbers(new) for v in n.values)]
    return [generator.choice(fresh)] if fresh else []


def _exchange(document: str, summary: str, _: list[tuple[str, str]], generator: random.Random) -> Change:
    """Two names, or two parties named by a noun, change places."""
    for spans in (_names(summary), [match.span() for match in _PARTY.finditer(summary)]):
        pairs = [
            (one, two)
            for i, one in enumerate(spans)
            for two in spans[i + 1 :]
            if summary[one[0] : one[1]].lower() != summary[two[0] : two[1]].lower()
            and re.search(r"[^\W_]", summary[one[1] : two[0]].replace(" and ", " ").replace(" or ", " "))
        ]
        if pairs:
            (a, b), (c, d) = generator.choice(pairs)
            return a, d, _cased(summary[c:d], summary[a]) + summary[b:c] + _cased(summary[a:b], summary[c])
    return None


def _cased(text: str, like: str) -> str:
    """`text` begun as what it replaces began, unless it is a name."""
    if like.isupper() and text[:1].islower():
        return text[0].upper() + text[1:]
    return text


def _negation(document: str, summary: str, _: list[tuple[str, str]], generator: random.Random) -> Change:
    """A statement becomes its opposite: a negation comes or goes, or a word becomes its opposite."""
    negated = list(_NEGATED.finditer(summary))
    if negated:
        match = generator.choice(negated)
        return (*match.span(), match["verb"] or ("can" if match[0].lower() == "cannot" else "always"))
    changes: list[tuple[int, int, str]] = [
        (match.start(), match.end(), f"{match[0]} not") for match in _AUXILIARY.finditer(summary)
    ] or [
        (match.start(), match.end(), _OPPOSITE[match[0]])
        for match in re.finditer(r"\b[a-z]+\b", summary)
        if match[0] in _OPPOSITE
    ]
    return generator.choice(changes) if changes else None


def _clause(document: str, summary: str, others: list[tuple[str, str]], generator: random.Random) -> Change:
    """The end of a sentence, from a connecting word on, becomes that of another document's summary."""
    return _new_tail(summary, [summary for _, summary in others], document, generator)


def _relation(document: str, summary: str, _: list[tuple[str, str]], generator: random.Random) -> Change:
    """The end of a sentence becomes what the document says after the same connecting word of something else."""
    sentences = [document[start:end] for start, end in sentence_spans(document)]
    for _try in range(_TRIES):
        change = _new_tail(summary, sentences, "", generator)
        if change is None:
            return None
        start, _end, text = change
        head = set(_content(summary[:start]))
        source = next((s for s in sentences if text.split(" ", 1)[-1].rstrip(".") in s), "")
        # Where the sentence it comes from is about the same, the new relation may be the document's own.
        if len(head & set(_content(source))) <= len(head) // 3:
            return change
    return None


def _new_tail(summary: str, sources: Sequence[str], not_in: str, generator: random.Random) -> Change:
    """The text from a connector to the end of its sentence, replaced by what a source has after the same connector."""
    places = []
    for start, end in sentence_spans(summary):
        for match in _CONNECTOR.finditer(summary, start, end):
            tail = summary[match.end() : end].rstrip(" .!?")
            before = len(_WORD.findall(summary[start : match.start()]))
            if before >= _LEAST_TAIL_WORDS and len(_WORD.findall(tail)) >= _LEAST_TAIL_WORDS:
                places.append((match.start(), match.end() + len(tail), match[0]))
    generator.shuffle(places)
    for start, end, connector in places:
        nominal, tails = bool(_NOMINAL.match(summary[start + len(connector) : end].strip())), []
        for source in sources:
            for match in re.finditer(rf"\b{connector}\b", source):
                tail = re.split(r"[,;:.!?()\"“”\n]", source[match.end() :], maxsplit=1)[0].strip()
                words = _WORD.findall(tail)
                if bool(_NOMINAL.match(tail)) != nominal:
                    continue
                if _LEAST_TAIL_WORDS <= len(words) <= 14 and tail.lower() not in f"{summary} {not_in}".lower():
                    tails.append(f"{connector} {tail}")
        if tails:
            return start, end, generator.choice(sorted(set(tails)))
    return None


def _content(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text) if len(word) > 3]


def _names(text: str) -> list[tuple[int, int]]:
    """Spans of names, neighboring words of one name together, calendar words left out."""
    spans: list[tuple[int, int]] = []
    for name in find_names(text):
        if _CALENDAR.fullmatch(name.text):
            continue
        if spans and text[spans[-1][1] : name.start] == " ":
            spans[-1] = (spans[-1][0], name.end)
        else:
            spans.append((name.start, name.end))
    return spans


def _shares_word(name: str, text: str) -> bool:
    words = {word.lower() for word in _WORD.findall(text)}
    return any(word.lower() in words for word in _WORD.findall(name))


_MAKERS: dict[PlantedKind, Callable[[str, str, list[tuple[str, str]], random.Random], Change]] = {
    "entity": _entity,
    "number": _number,
    "exchange": _exchange,
    "negation": _negation,
    "clause": _clause,
    "relation": _relation,
}
KINDS = tuple(_MAKERS)
