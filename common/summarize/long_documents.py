"""Texts longer than a prompt made to fit: cut, summarized in parts that are merged, or reduced to key sentences.

The model is a function that the caller gives; this module knows no engine, template or tokenizer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from common.metrics.sentences import sentence_spans
from common.summarize.key_sentences import key_sentences
from common.summarize.split_text import Count, split_parts

LongMethod = Literal["truncate", "map-reduce", "two-stage"]
METHODS: tuple[LongMethod, ...] = ("truncate", "map-reduce", "two-stage")

# Parts of texts by the position of their document, to as many summaries each ("" where there is none).
SummarizeParts = Callable[[dict[int, list[str]]], dict[int, list[str]]]


@dataclass(frozen=True)
class Fitted:
    """What goes into the last prompt for a document.

    parts          the summaries of its parts (map-reduce) or its key sentences (two-stage); empty where it fitted
    failed_parts   how many parts the model gave no summary of
    unread_tokens  tokens of the document that were left out before the prompt (two-stage)
    """

    text: str
    parts: tuple[str, ...] = ()
    unread_tokens: int = 0
    failed_parts: int = 0


def fit_documents(
    documents: Sequence[str], method: LongMethod, room: int, count: Count, summarize: SummarizeParts
) -> list[Fitted]:
    """Each document as it goes into its prompt, which holds `room` tokens of it; short ones stay as they are.

    `truncate` leaves cutting to the prompt. `map-reduce` calls `summarize` with the parts of all long documents at
    once, and again with what is still too long; two texts of the same length in a row end it, and the prompt cuts.
    """
    lengths = count(documents)
    if method == "truncate" or room < 1:
        return [Fitted(document) for document in documents]
    if method == "two-stage":
        return [
            extract(document, length, room, count) if length > room else Fitted(document)
            for document, length in zip(documents, lengths, strict=True)
        ]
    return _map_reduce(documents, lengths, room, count, summarize)


def extract(document: str, length: int, room: int, count: Count) -> Fitted:
    """The document reduced to its key sentences, in their order, paragraphs kept apart."""
    spans = sentence_spans(document)
    sentences = [document[start:end] for start, end in spans]
    chosen = key_sentences(sentences, [size + 1 for size in count(sentences)], room)  # + 1: what joins them
    if not chosen:
        return Fitted(document)
    text = sentences[chosen[0]]
    for before, after in pairwise(chosen):
        text += ("\n" if "\n" in document[spans[before][1] : spans[after][0]] else " ") + sentences[after]
    return Fitted(text, tuple(sentences[position] for position in chosen), max(0, length - count([text])[0]))


def _map_reduce(
    documents: Sequence[str], lengths: Sequence[int], room: int, count: Count, summarize: SummarizeParts
) -> list[Fitted]:
    fitted = [Fitted(document) for document in documents]
    sizes = list(lengths)
    long = [index for index, size in enumerate(sizes) if size > room]
    while long:
        summaries = summarize({index: split_parts(fitted[index].text, room, count) for index in long})
        still_long = []
        for index in long:
            made = tuple(text for text in summaries[index] if text)
            merged = "\n".join(made)
            size = count([merged])[0]
            failed = fitted[index].failed_parts + len(summaries[index]) - len(made)
            if not made or size >= sizes[index]:
                fitted[index] = replace(fitted[index], failed_parts=failed)
                continue
            fitted[index], sizes[index] = Fitted(merged, made, failed_parts=failed), size
            if size > room:
                still_long.append(index)
        long = still_long
    return fitted
