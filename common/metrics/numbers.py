"""Numbers in text, as values: digits, separators, magnitudes (`1.2m`, `3 billion`) and English number words.

Knows nothing of documents and summaries; `faithfulness` asks which values of one the other does not hold.
"""

from __future__ import annotations

import re
from collections.abc import Set
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_ORDINALS = (
    "zeroth first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth "
    "fifteenth sixteenth seventeenth eighteenth nineteenth"
)
_MAGNITUDES = {
    "hundred": 1e2,
    "thousand": 1e3,
    "k": 1e3,
    "lakh": 1e5,
    "million": 1e6,
    "mn": 1e6,
    "m": 1e6,
    "billion": 1e9,
    "bn": 1e9,
    "b": 1e9,
    "trillion": 1e12,
    "tn": 1e12,
}
# Words that stand for a quantity without being a number: they support one, and are never flagged.
_IMPLIED = {
    "half": (0.5, 30.0, 50.0),
    "quarter": (0.25, 4.0, 15.0, 25.0, 45.0),
    "third": (33.0,),
    "both": (2.0,),
    "pair": (2.0,),
    "couple": (2.0,),
    "twice": (2.0,),
    "double": (2.0,),
    "twin": (2.0,),
    "duo": (2.0,),
    "another": (2.0,),
    "triple": (3.0,),
    "trio": (3.0,),
    "treble": (3.0,),
    "hat-trick": (3.0,),
    "quadruple": (4.0,),
    "week": (7.0,),
    "decade": (10.0,),
    "dozen": (12.0,),
    "fortnight": (2.0, 14.0),
    "century": (100.0,),
    "centuries": (100.0,),
    "millennium": (1000.0,),
}
_LONGER_UNITS = frozenset(["mph", "kph", "kmh", "usd", "gbp", "eur", "hrs", "min"])
_DIGITS = re.compile(
    r"(?<![\w.,])(?P<apostrophe>['’])?(?P<digits>\d+(?:[.,]\d+)*)"
    r"(?P<suffix>[^\W\d_]{0,8})(?:[ -](?P<word>hundred|thousand|lakh|million|billion|trillion|bn|mn|m)\b)?",
    re.IGNORECASE,
)
_SPACED_GROUPS = re.compile(r"(?<=\d), (?=\d{3}\b)")
_UNIT_AFTER = re.compile(r" ?(?:yuan|dollars|pounds|euros|people|miles|km|metres|meters|words|students|of)\b")
_RANGE = re.compile(r"\b(\d{4})[-–/](\d{2})\b")
_CURRENCIES = frozenset("$£€¥")
_PRICE = re.compile(r"\b(\d+) ?(?:dollars?|pounds?|euros?|yuan)(?: and)? (\d{1,2})\b", re.IGNORECASE)
_AFTERNOON = re.compile(r"\b(1[3-9]|2[0-3])[:.]?[0-5]\d\b")
_PM = re.compile(r"\b(\d{1,2})(?:[:.]\d\d)? ?p\.?m\b", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")


@dataclass(frozen=True)
class Number:
    """A number at offsets [start, end) with every value it may stand for.

    step     the unit that the first of them is rounded to
    clock    hour and minute where it can be read as a time of day
    """

    start: int
    end: int
    values: tuple[float, ...]
    step: float
    clock: tuple[float, float] | None = None
    is_word: bool = False
    is_year: bool = False


def find_numbers(text: str) -> list[Number]:
    """The numbers of `text` in order. Digits inside a word (`Person1`, `B2B`) are part of that word, not numbers."""
    numbers = [_from_digits(match) for match in _DIGITS.finditer(text) if _is_number(match["suffix"].lower())]
    return sorted([*numbers, *_from_words(text)], key=lambda number: number.start)


def known_values(text: str) -> set[float]:
    """Every value that `text` states or implies: numbers, ends of ranges (`2015-16`), words like `dozen`, hours past
    noon on either clock, and prices in two units (`12 dollars 50`).
    """
    text = _SPACED_GROUPS.sub(",", text)
    values = {value for number in find_numbers(text) for value in number.values}
    values.update(float(match[1][:2] + match[2]) for match in _RANGE.finditer(text))
    values.update(float(match[1]) + float(match[2]) / 100 for match in _PRICE.finditer(text))
    values.update(float(match[1]) - 12 for match in _AFTERNOON.finditer(text))
    values.update(float(match[1]) + 12 for match in _PM.finditer(text))
    values.update(float(piece) for piece in re.findall(r"\d+", text))
    for word in _WORD.findall(text.lower()):
        for form in (word, word.removesuffix("s"), word.removesuffix("d")):
            values.update(_IMPLIED.get(form, ()))
    return values


def is_supported(number: Number, known: Set[float]) -> bool:
    """Whether `known` holds the value, or one that rounds to it (within a tenth; years are never rounded)."""
    if number.clock and known >= set(number.clock):
        return True
    if not known.isdisjoint(number.values):
        return True
    if number.is_year or not number.step:
        return False
    for ours in number.values:
        smaller = min(1.0, ours / number.values[0]) if number.values[0] else 1.0
        allowed = min(number.step * smaller, 0.1 * ours)
        if any(abs(value - ours) < allowed for value in known):
            return True
    return False


def _is_number(suffix: str) -> bool:
    """Whether letters that follow digits directly are an ending or a unit (`21st`, `5kg`), not a word (`2vec`)."""
    return len(suffix) <= 2 or suffix in _LONGER_UNITS or suffix in _MAGNITUDES


def _from_digits(match: re.Match[str]) -> Number:
    digits, suffix = match["digits"], match["suffix"].lower()
    readings = _readings(digits)
    scale = _MAGNITUDES.get((match["word"] or "").lower(), 1.0) * _MAGNITUDES.get(suffix, 1.0)
    values = [value * scale for value in readings]
    if scale != 1:
        values += readings
    plain = digits.isdigit()
    text, start, end = match.string, match.start("digits"), match.end()
    is_amount = text[max(0, start - 1) : start] in _CURRENCIES or _UNIT_AFTER.match(text, end) is not None
    is_year = plain and len(digits) == 4 and 1000 <= int(digits) <= 2100 and suffix in ("", "s") and not is_amount
    if plain and len(digits) == 2 and 13 <= int(digits) <= 23 and text.startswith(":", end):
        values.append(float(digits) - 12)
    if plain and len(digits) == 2 and (match["apostrophe"] or suffix == "s"):
        values += [1900.0 + int(digits), 2000.0 + int(digits)]
    time = re.fullmatch(r"(\d{1,2})\.([0-5]\d)", digits)
    clock = (float(time[1]), float(time[2])) if time else None
    return Number(start, end, tuple(values), scale * _step(digits), clock, is_year=is_year)


def _readings(digits: str) -> list[float]:
    """What a digit string may mean: `1,099` is 1099, `2.5` is 2.5, and `1.099` could be either."""
    if digits.isdigit():
        return [float(digits)]
    readings = []
    if re.fullmatch(r"\d{1,3}(?:[.,]\d{3})+", digits) or re.fullmatch(r"\d{1,2}(?:,\d{2})+,\d{3}", digits):
        readings.append(float(re.sub("[.,]", "", digits)))
    if re.fullmatch(r"\d+[.,]\d+", digits):
        readings.append(float(digits.replace(",", ".")))
    if re.fullmatch(r"\d{1,3}(?:,\d{3})+\.\d+", digits):
        readings.append(float(digits.replace(",", "")))
    return readings or [float(piece) for piece in re.split("[.,]", digits)]


def _step(digits: str) -> float:
    """The unit a number was plausibly rounded to: its last digit that is not a trailing zero."""
    whole, _, fraction = digits.replace(",", "").partition(".")
    if fraction:
        return 10.0 ** -len(fraction)
    return 10.0 ** (len(whole) - len(whole.rstrip("0"))) if whole.strip("0") else 0.0


@cache
def _word_values() -> dict[str, float]:
    values = {word: float(value) for value, word in enumerate(_SMALL.split())}
    values.update({word: float(value) for value, word in enumerate(_ORDINALS.split())})
    for place, word in enumerate(_TENS.split()):
        values[word] = values[word[:-1] + "ieth"] = 20.0 + 10 * place
    return values


def _from_words(text: str) -> list[Number]:
    """Runs of number words: `twenty-five`, `two hundred and six`, `a million`, `third`."""
    found: list[Number] = []
    run: list[tuple[str, int, int]] = []
    previous = ""
    for match in re.finditer(r"[^\W\d_]+|[^\s\w-]+|\d+", text):
        word, before, previous = match[0].lower(), previous, match[0].lower()
        base = word.removesuffix("s") if word.endswith(("dreds", "sands", "lions")) else word
        is_number = base in _word_values() or base in ("hundred", "thousand", "million", "billion", "trillion")
        if is_number or (run and word == "and" and run[-1][0] in ("hundred", "thousand")):
            if not run and before == "a" and base not in _word_values():
                run.append(("one", match.start(), match.end()))  # "a million"
            run.append((base, match.start(), match.end()))
        elif run:
            found += _close(run)
            run = []
    return found + _close(run)


def _close(run: list[tuple[str, int, int]]) -> list[Number]:
    """The number that a run of (word, start, end) states; where it states several, all are values of one."""
    while run and run[-1][0] == "and":
        run = run[:-1]
    if not any(word in _word_values() for word, _, _ in run):
        return []  # "thousands of people" states no number
    total = current = 0.0
    parts: list[float] = []
    for word, _, _ in run:
        value = _word_values().get(word)
        if value is not None:
            if current % 100 and not (current % 10 == 0 and 0 < value < 10 and current % 100 >= 20):
                parts.append(total + current)  # "one two": two numbers side by side
                total = current = 0.0
            current += value
        elif word == "hundred":
            current = max(current, 1.0) * 100
        elif word != "and":
            total += max(current, 1.0) * _MAGNITUDES[word]
            current = 0.0
    parts.append(total + current)
    pairs = [100 * first + second for first, second in pairwise(parts) if 10 <= first < 100 and second < 100]
    step = 1.0 if parts[-1] >= 20 else 0.0
    return [Number(run[0][1], run[-1][2], (parts[-1], *parts[:-1], *pairs), step, is_word=True)]
