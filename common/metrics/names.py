"""Which capitalised words of a text are names, and whether a document knows a name in some other form.

Rules for cased scripts, no model: possessives, plurals, demonyms, acronyms and what they stand for, accents, short
forms. Knows nothing of summaries as such; `faithfulness` puts the two together.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise

from common.metrics.sentences import sentence_spans
from common.metrics.tokens import porter_stem

_WORD = re.compile(r"[^\W_](?:[\w\u0300-\u036f]|[.'’&/-](?=[^\W_]))*")
_POSSESSIVE = re.compile(r"['’]s?$")
_PIECES = re.compile(r"[.'’&/_-]")
_FRESH_START = re.compile(r"[:;=\"“‘«([{!?•*–—|]\s*['\"“‘«(]*$|(?:^|\s)['\"“‘-]+$|\n\s*$")
# Capitalised wherever they stand, and no claim about the world.
_NOT_NAMES = frozenset(
    [
        *("i", "mr", "mrs", "ms", "miss", "mx", "dr", "sir", "dame", "lord", "lady", "madam", "ok", "tv", "god", "mum"),
        *("dad", "mom", "mp", "mps", "pm", "am", "id", "cv", "dvd", "cd", "pc", "ceo", "it", "ph.d", "phd", "faq"),
        *("internet", "web", "christmas", "earth", "professor", "prof", "pdf", "q&a", "e.g", "i.e"),
        *("he", "she", "they", "we", "you", "his", "her", "its", "their", "our", "my", "your", "this", "that", "these"),
        *("the", "an", "and", "but", "or", "if", "in", "on", "at", "of", "to", "for", "with", "from", "by", "as", "so"),
        *("then", "there", "here", "it's", "that's", "now", "also", "she's", "he's", "let", "all", "some", "one"),
        *("how", "why", "what", "who", "when", "where", "which", "not", "no", "yes", "is", "are", "do", "does", "was"),
    ]
)
_DONE_BY_PEOPLE = frozenset(
    [
        *("advises", "agrees", "apologizes", "argues", "asks", "believes", "calls", "complains", "decides", "dislikes"),
        *("feels", "hates", "helps", "hopes", "insists", "invites", "knows", "likes", "loves", "says", "thanks"),
        *("thinks", "tells", "wants", "wishes", "worries"),
    ]
)
_NOT_PEOPLE = frozenset(
    [
        *("he", "she", "it", "this", "that", "which", "who", "what", "one", "everyone", "everybody", "someone"),
        *("somebody", "anyone", "nobody", "government", "management", "police", "report", "research", "study"),
    ]
)
_OTHER_NAMES = (
    ("uk", "britain", "british", "briton", "united kingdom"),
    ("us", "usa", "america", "american", "united states"),
    ("eu", "european union", "europe", "european"),
    ("un", "united nations"),
    ("uae", "emirates", "emirati"),
    ("england", "english"),
    ("scotland", "scottish", "scots", "scot"),
    ("wales", "welsh"),
    ("ireland", "irish"),
    ("france", "french"),
    ("germany", "german"),
    ("spain", "spanish", "spaniard"),
    ("netherlands", "dutch", "holland"),
    ("poland", "polish"),
    ("turkey", "turkish"),
    ("greece", "greek"),
    ("sweden", "swedish", "swede"),
    ("denmark", "danish", "dane"),
    ("finland", "finnish"),
    ("switzerland", "swiss"),
    ("portugal", "portuguese"),
    ("philippines", "filipino", "philippine"),
    ("thailand", "thai"),
    ("norway", "norwegian"),
    ("iceland", "icelandic"),
    ("new zealand", "kiwi", "nz"),
    ("australia", "australian", "aussie"),
    ("belgium", "belgian"),
    ("cyprus", "cypriot"),
    ("london", "londoner"),
    ("bbc", "british broadcasting corporation"),
    ("labour", "lab"),
    ("conservative", "tory", "tories"),
    ("lib", "liberal"),
    ("dem", "democrat"),
)
_ENDING = re.compile(r"(?:ians?|eans?|ans?|ns?|ese|is?|s|a|ia|o|y|e)$")
_PREFIX = re.compile(r"^(auto|multi|inter|hyper|micro|photo|tele|super|bio)(?=\w{3})")
LINKING_WORDS = frozenset({"of", "the", "and", "for", "in", "on", "to", "de", "la", "du", "von", "van", "a", "an"})


@dataclass(frozen=True)
class Name:
    """A capitalised word at offsets [start, end), its possessive ending left out."""

    start: int
    end: int
    text: str
    starts_sentence: bool


def find_names(text: str) -> list[Name]:
    """Capitalised words that are names by their position or their form, in order.

    A word that opens a sentence counts only where its form tells (`NASA`, `McLean`, `Anna's`) or where it does
    what people do (`Anna asks`). Text in title case or capitals tells nothing, and gives none.
    """
    words = list(_WORD.finditer(text))
    if _mostly_capitals([match[0] for match in words]):
        return []
    starts = {start for start, _ in sentence_spans(text)}
    found: list[Name] = []
    for match in words:
        word = _POSSESSIVE.sub("", match[0])
        if not any(map(str.isupper, word[:1])) and not _mixed(word):
            continue
        opens = match.start() in starts or bool(_FRESH_START.search(text[: match.start()]))
        found.append(Name(match.start(), match.start() + len(word), word, opens and not _mixed(word)))
    return [
        name for name in found if len(name.text) > 1 and name.text.lower() not in _NOT_NAMES and _is_name(text, name)
    ]


class KnownNames:
    """The words of a document, in the forms under which a name may be found again."""

    def __init__(self, document: str) -> None:
        self._words = [_POSSESSIVE.sub("", match[0]) for match in _WORD.finditer(document)]
        lower = [plain(word) for word in self._words]
        self._forms = {form for word in lower for form in (word, *_PIECES.split(word))}
        self._forms |= {_singular(form) for form in self._forms}
        self._spaced = f" {' '.join(lower)} "

    @cached_property
    def _roots(self) -> set[str]:
        return {_root(form) for form in self._forms} | self._forms

    @cached_property
    def _stems(self) -> set[str]:
        return {_stem(form) for form in self._forms}

    @cached_property
    def _joined(self) -> str:
        return re.sub(r"\W", "", self._spaced)

    @cached_property
    def _word_pieces(self) -> list[str]:
        return [piece for word in self._spaced.split() for piece in _PIECES.split(word) if piece]

    @cached_property
    def _initials(self) -> tuple[str, ...]:
        """First letters of all words in a row: with and without linking words, with `auto` and the like apart."""
        pieces = self._word_pieces
        content = [piece for piece in pieces if piece not in LINKING_WORDS]
        apart = [part for piece in content for part in _PREFIX.split(piece) if part]
        return tuple("".join(part[0] for part in parts) for parts in (pieces, content, apart))

    @cached_property
    def _acronyms(self) -> set[str]:
        return {word.replace(".", "").lower() for word in self._words if word.isupper() and len(word) > 1}

    @cached_property
    def _capitalised(self) -> set[str]:
        return {plain(word) for word in self._words if word[0].isupper()} - _NOT_NAMES

    def holds(self, name: str) -> bool:
        """Whether the document has `name` in this or another form."""
        word = plain(name)
        forms = {word, _singular(word), word.replace(".", "")}
        if forms & self._forms or {word, _root(word)} & self._roots or self._under_another_name(forms):
            return True
        if len(word) >= 5 and re.sub(r"\W", "", word) in self._joined:
            return True
        letters = word.replace(".", "").removesuffix("s" if name.endswith("s") else "")
        if name.replace(".", "").rstrip("s").isupper() and len(letters) >= 2 and self._spells(letters):
            return True
        pieces = [piece for piece in _PIECES.split(name) if piece]
        if len(pieces) > 1:
            return all(self.holds(piece) or not piece[0].isupper() or len(piece) == 1 for piece in pieces)
        return self._short_form(word) or _stem(word) in self._stems

    def abbreviates(self, name: str) -> bool:
        """Whether the document has an acronym made of the first letters of `name`, linking words in or out."""
        words = name.split()
        every, content = (
            "".join(word if word.isupper() else word[0] for word in some).lower()
            for some in (words, [word for word in words if word.lower() not in LINKING_WORDS])
        )
        return len(content) >= 2 and not self._acronyms.isdisjoint((every, content))

    def _under_another_name(self, forms: set[str]) -> bool:
        for group in _OTHER_NAMES:
            if not forms.isdisjoint(group):
                return any(f" {other} " in self._spaced or other in self._forms for other in group)
        return False

    def _spells(self, letters: str) -> bool:
        """Whether words in a row begin with these letters; for two letters both must be long, or chance would do."""
        if len(letters) == 2:
            pairs = pairwise(self._word_pieces)
            return any(a[0] + b[0] == letters and min(len(a), len(b)) >= 4 for a, b in pairs)
        return any(letters in initials for initials in self._initials)

    def _short_form(self, word: str) -> bool:
        """`Rob` for Robert and the reverse: three letters in common from the start, one all of the shorter."""
        if len(word) < 3:
            return False
        return any(
            len(other) >= 3 and (other.startswith(word) or word.startswith(other)) for other in self._capitalised
        )


def plain(word: str) -> str:
    """Lower case without accents."""
    if word.isascii():
        return word.lower()
    decomposed = unicodedata.normalize("NFKD", word)
    return "".join(c for c in decomposed if not unicodedata.combining(c)).lower().replace("’", "'")


@cache
def _stem(word: str) -> str:
    """Porter's stem, and one spelling for `centre` and `center`: title words need not keep the document's form."""
    return porter_stem()(word.removesuffix("re") + "er" if word.endswith("tre") else word)


@cache
def _root(word: str) -> str:
    """The word without the endings that turn a place into its people: Russia and Russian, Iraq and Iraqis."""
    shorter = _ENDING.sub("", word)
    return shorter if len(shorter) >= 4 else word


def _singular(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    return word[:-1] if word.endswith("s") and not word.endswith("ss") and len(word) > 3 else word


def _mixed(word: str) -> bool:
    """Capitals where a sentence would not put them: NASA, iPhone, McLean."""
    return len(word) > 1 and any(map(str.isupper, word[1:])) and not word.isdigit()


def _mostly_capitals(words: list[str]) -> bool:
    long_words = [word for word in words if len(word) >= 4 and word[0].isalpha()]
    share = sum(word[0].isupper() for word in long_words) / max(1, len(long_words))
    return (len(long_words) >= 3 and share == 1) or (len(long_words) >= 5 and share >= 0.8)


def _is_name(text: str, name: Name) -> bool:
    if not name.starts_sentence or text[name.end : name.end + 2] in ("'s", "’s"):
        return True
    following = _WORD.match(text, name.end + 1)
    return following is not None and following[0] in _DONE_BY_PEOPLE and name.text.lower() not in _NOT_PEOPLE
