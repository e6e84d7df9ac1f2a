"""What of a sentence stands in a document, word by word, and which passages of the document it rests on.

A word that the document does not hold counts by its likeness to the nearest one that it does: the Jaccard similarity
of their letter trigrams, so that "restarting" is near "restart" in any language that is written with letters.
"""

from __future__ import annotations

import re
from functools import cache, cached_property, lru_cache

import numpy as np

from common.check.support import Evidence
from common.metrics.sentences import sentence_spans
from common.metrics.tokens import word_spans
from common.text.scripts import BY_CHARACTER, marks


def _list(words: str) -> list[str]:
    return words.split()


# English function words: they say little of what a text is about. Other languages' occur in nearly every document.
FUNCTION_WORDS = frozenset(
    _list(
        """
        a an the of to in on at by for with from as is are was were be been being has have had do does did will would
        can could may might must shall should and or but if so than then that this these those it its he she they them
        his her their him i you we us our your my me who whom which what when where while there here not no nor only
        also just more most very some any all each both few into over under about after before between during through
        up down out off again said says say mr mrs ms s t
        """
    )
)
_PASSAGES = 3
_LEAST_GAIN = 0.1  # of a sentence's words: what a further passage has to add


def content_words(text: str) -> list[str]:
    """Lower-cased words that carry content, in order; all words where none does. Text in a script without spaces
    gives its pairs of neighboring characters.
    """
    words = _words(text)
    return [word for word in words if word not in FUNCTION_WORDS] or words


def _words(text: str) -> list[str]:
    found: list[str] = []
    single = _single_character()
    spans = word_spans(text)
    for place, (word, _, end) in enumerate(spans):
        following = spans[place + 1] if place + 1 < len(spans) else ("", -1, -1)
        if not single.fullmatch(word):
            found.append(word)
        elif following[1] == end and single.fullmatch(following[0]):
            found.append(word + following[0])
        elif not found or not found[-1].endswith(word):
            found.append(word)
    return found


@cache
def _single_character() -> re.Pattern[str]:
    return re.compile(f"[{BY_CHARACTER}][{marks()}]*")


@lru_cache(100_000)
def _trigrams(word: str) -> frozenset[str]:
    padded = f"^{word}$"
    return frozenset(padded[i : i + 3] for i in range(len(padded) - 2))


class DocumentWords:
    """A document's words, looked up by the summaries that are checked against it."""

    def __init__(self, document: str) -> None:
        self.spans = sentence_spans(document)
        self._sentences = [frozenset(_words(document[start:end])) for start, end in self.spans]
        self._likeness: dict[str, tuple[float, str]] = {}

    @cached_property
    def _vocabulary(self) -> dict[str, frozenset[str]]:
        return {word: _trigrams(word) for sentence in self._sentences for word in sorted(sentence)}

    def nearest(self, word: str) -> tuple[float, str]:
        """Likeness in [0, 1] of the document's nearest word, and that word. A number is there or it is not."""
        if word in self._vocabulary:
            return 1.0, word
        if word not in self._likeness:
            self._likeness[word] = (0.0, "") if word.isdecimal() else self._search(word)
        return self._likeness[word]

    def _search(self, word: str) -> tuple[float, str]:
        wanted, best = _trigrams(word), (0.0, "")
        for other, trigrams in self._vocabulary.items():
            shared = len(wanted & trigrams)
            if shared:
                likeness = shared / (len(wanted) + len(trigrams) - shared)
                if likeness > best[0]:
                    best = likeness, other
        return best

    def missing(self, sentence: str) -> float:
        """The share in [0, 1] of the sentence's content words that the document does not hold; 1 without words."""
        words = content_words(sentence)
        return 1.0 - float(np.mean([self.nearest(word)[0] for word in words])) if words else 1.0

    def evidence(self, sentence: str, most: int = _PASSAGES, most_support: float = 1.0) -> tuple[Evidence, ...]:
        """The document's sentences that hold most of the sentence's content words, each adding to those before it,
        rarer words counting more; `support` is the share that each holds. Neighbors are joined into one passage.

        `most_support` bounds the support of a passage: none supports a sentence further than the whole document.
        """
        words = sorted(set(content_words(sentence)))
        near = [self.nearest(word) for word in words]
        holds = np.array([[value * (other in s) for value, other in near] for s in self._sentences], float)
        if not holds.size:
            return ()
        rarity = np.log((1.0 + len(self._sentences)) / (0.5 + (holds > 0).sum(0)))
        weights = rarity / rarity.sum() if rarity.sum() > 0 else np.full(len(words), 1.0 / len(words))
        chosen: list[int] = []
        covered = np.zeros(len(words))
        while len(chosen) < most:
            gains = (np.maximum(holds, covered) - covered) @ weights
            best = int(gains.argmax())
            if gains[best] < (_LEAST_GAIN if chosen else 1e-9):
                break
            chosen.append(best)
            covered = np.maximum(covered, holds[best])
        shares = holds @ weights
        ranked = sorted(chosen, key=lambda place: -shares[place])
        return tuple(
            _joined(
                [Evidence(*self.spans[place], min(round(float(shares[place]), 4), most_support)) for place in ranked],
                self.spans,
            )
        )


def _joined(evidence: list[Evidence], spans: list[tuple[int, int]]) -> list[Evidence]:
    """Passages that follow each other directly become one, with the greater support."""
    place = {start: number for number, (start, _) in enumerate(spans)}
    runs: list[list[Evidence]] = []
    for passage in sorted(evidence, key=lambda item: item.start):
        if runs and place[passage.start] == place[runs[-1][-1].start] + 1:
            runs[-1].append(passage)
        else:
            runs.append([passage])
    joined = [Evidence(run[0].start, run[-1].end, max(part.support for part in run)) for run in runs]
    return sorted(joined, key=lambda item: -item.support)
