"""The best supported of several summaries of a document, without the sentences that the document does not support."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from common.check.built_in import BuiltIn
from common.check.support import Checked, Checker, DocumentSummary
from common.evaluation.place import stored_results
from common.metrics.sentences import split_sentences
from common.run.directory import RunDirectory
from common.summarize.key_sentences import sentence_scores
from common.text.amounts import finite, mapping

SAMPLES = 4  # the greedy summary and three drawn ones
TEMPERATURE = 0.7
TOP_P = 0.95


@dataclass(frozen=True)
class Supporting:
    """What checks summaries, and the support from which a sentence is kept."""

    checker: Checker
    threshold: float


BY_DEFAULT = Supporting(BuiltIn(), BuiltIn.default_threshold)


def calibrated(run: RunDirectory) -> Supporting:
    """The default checker with the threshold that the run's evaluation found on planted errors, where it has one that
    tells anything.
    """
    known = mapping(stored_results(run).get("checker"))
    threshold = finite(known.get("threshold"))
    if known.get("name") == BuiltIn.name and known.get("tells") and threshold is not None:
        return Supporting(BuiltIn(), threshold)
    return BY_DEFAULT


@dataclass(frozen=True)
class Chosen:
    """The summary that is given out.

    place          which of the candidates it is
    dropped        its sentences that were left out for want of support
    from_document  no sentence of any candidate was supported: these are the document's own key sentences
    """

    text: str
    place: int
    checked: Checked
    dropped: tuple[str, ...] = ()
    from_document: bool = False


def most_supported(document: str, candidates: Sequence[str], by: Supporting = BY_DEFAULT) -> Chosen:
    """Of the candidates, without their unsupported sentences, the one with the fewest dropped, then the most support.

    The first of equals; the greedy one comes first. Candidates may be empty, and all of them are then not supported.
    """
    items = [DocumentSummary(document, text) for text in candidates]
    best: tuple[tuple[int, float], int, str, tuple[str, ...]] | None = None
    for place, (item, checked) in enumerate(zip(items, by.checker.check(items), strict=True)):
        kept = [s for s in checked.sentences if s.support >= by.threshold]
        if not kept:
            continue
        dropped = tuple(item.summary[s.start : s.end] for s in checked.sentences if s.support < by.threshold)
        rank = (-len(dropped), min(sentence.support for sentence in kept))
        if best is None or rank > best[0]:
            whole = " ".join(item.summary[s.start : s.end] for s in kept)
            best = rank, place, item.summary if not dropped else whole, dropped
    if best is None:
        text = key_sentence(document)
        return Chosen(text, 0, check_one(document, text, by), tuple(candidates[:1]), from_document=True)
    _, place, text, dropped = best
    return Chosen(text, place, check_one(document, text, by), dropped)


def check_one(document: str, summary: str, by: Supporting = BY_DEFAULT) -> Checked:
    """One summary checked."""
    (checked,) = by.checker.check([DocumentSummary(document, summary)])
    return checked


def key_sentence(document: str) -> str:
    """The document's most central sentence; the document itself where it has no more."""
    sentences = split_sentences(document)
    return sentences[int(sentence_scores(sentences).argmax())] if sentences else document
