"""The examples a report shows: best, median and worst, each summary cut into pieces that carry their marks.

Chosen by ROUGE-1, failures included, so that nothing bad can hide. Knows nothing of HTML.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from common.metrics.faithfulness import unsupported_claims
from common.metrics.tokens import Tokenizer, choose_tokenizer, word_spans
from common.report.spans import Piece, Range, copied_ranges, cut_into_pieces, different_ranges
from common.run.contents import RunFiles
from common.run.predictions import PredictionRow
from common.safe_text import visible
from common.text.amounts import share
from common.text.names import ROUGE_METRICS, system_label

SHOWN_DOCUMENT_CHARACTERS = 6000
SHOWN_SUMMARY_CHARACTERS = 3000
PER_GROUP = 3
CHECKED_SUMMARIES = 100  # for unsupported claims; a long document takes some 50 ms
GROUPS = ("best", "median", "worst")


@dataclass(frozen=True)
class MarkedText:
    """A text of one example: whose it is, its pieces, and how many characters were left out at its end.

    unsupported   (text, kind) of each claim in a summary that the document does not hold
    """

    label: str
    pieces: tuple[Piece, ...]
    left_out: int = 0
    unsupported: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class ShownExample:
    """One example as a report shows it."""

    id: str
    scores: tuple[tuple[str, float], ...]
    stop_reason: str
    document_words: int
    document: MarkedText
    reference: MarkedText
    summaries: tuple[MarkedText, ...]


def choose_examples(rows: Sequence[PredictionRow], measure: str = "rouge1") -> dict[str, list[PredictionRow]]:
    """Up to three best, median and worst rows by `measure`, no row twice; without scores the first rows."""
    scored = sorted((row for row in rows if measure in row.scores), key=lambda row: -row.scores[measure])
    if not scored:
        return {"first": list(rows[:PER_GROUP])} if rows else {}
    if len(scored) <= PER_GROUP:
        return {"all, best first": scored}
    size = min(PER_GROUP, len(scored) // 3) or 1
    middle = (len(scored) - size) // 2
    chosen = {"best": scored[:size], "median": scored[middle : middle + size], "worst": scored[-size:][::-1]}
    return {name: chosen[name] for name in GROUPS}


def faithfulness_note(run: RunFiles) -> str:
    """How many summaries claim what their document does not hold, beside how many references do; empty if unknown."""
    rows = [row for row in run.predictions if row.document][:CHECKED_SUMMARIES]
    if not rows:
        return ""
    ours = sum(bool(unsupported_claims(row.document, row.prediction)) for row in rows)
    theirs = sum(bool(unsupported_claims(row.document, row.reference)) for row in rows)
    which = f"the first {len(rows)}" if len(rows) < len(run.predictions) else f"all {len(rows)}"
    return (
        f"Of {which} summaries, {ours} ({share(ours, len(rows))}) hold a number, date, name or quotation that was not "
        f"found in the document; of their references, {theirs} ({share(theirs, len(rows))}). Such a finding is a "
        "reason to look, not proof of an error."
    )


def show_examples(run: RunFiles) -> dict[str, list[ShownExample]]:
    """The chosen examples by group, with the untuned model's summary beside where the run has it."""
    tokenizer = choose_tokenizer(row.reference for row in run.predictions)
    base = {row.key: row.prediction for row in run.others.get("base", ())}
    shown = {}
    for group, rows in choose_examples(run.predictions).items():
        shown[group] = [show_example(row, tokenizer, system_label(run.main_system), base.get(row.key)) for row in rows]
    return shown


def show_example(
    row: PredictionRow, tokenizer: Tokenizer, label: str = "fine-tuned", base: str | None = None
) -> ShownExample:
    """Compare one prediction (by the system `label`) with its reference and document, and mark what was found."""
    document, _ = _shown(row.document, 0)
    reference, left_out = _shown(row.reference, SHOWN_SUMMARY_CHARACTERS)
    prediction, _ = _shown(row.prediction, SHOWN_SUMMARY_CHARACTERS)
    missed = [(span, "different", "") for span in different_ranges(reference, prediction, tokenizer)]
    summaries = [_marked_summary(label, row.prediction, reference, document, tokenizer)]
    if base is not None:
        summaries.append(_marked_summary(system_label("base"), base, reference, document, tokenizer))
    return ShownExample(
        id=visible(row.id),
        scores=tuple((name, row.scores[name]) for name in ROUGE_METRICS if name in row.scores),
        stop_reason=row.stop_reason,
        document_words=len(word_spans(document)),
        document=_marked_document(document, copied_ranges(prediction, document)[1]),
        reference=MarkedText("reference", tuple(cut_into_pieces(reference, missed)), left_out),
        summaries=tuple(summaries),
    )


def _marked_summary(label: str, text: str, reference: str, document: str, tokenizer: Tokenizer) -> MarkedText:
    summary, left_out = _shown(text, SHOWN_SUMMARY_CHARACTERS)
    claims = unsupported_claims(document, summary)
    marks = [(span, "different", "") for span in different_ranges(summary, reference, tokenizer)]
    marks += [(span, "copied", "") for span in copied_ranges(summary, document)[0]]
    marks += [((claim.start, claim.end), "unsupported", f"{claim.kind} not in the document") for claim in claims]
    listed = dict.fromkeys((claim.text, str(claim.kind)) for claim in claims)
    return MarkedText(label, tuple(cut_into_pieces(summary, marks)), left_out, tuple(listed))


def _marked_document(document: str, copied_from: list[Range]) -> MarkedText:
    kept = document[:SHOWN_DOCUMENT_CHARACTERS]
    inside = [((start, min(end, len(kept))), "copied", "") for start, end in copied_from if start < len(kept)]
    return MarkedText("document", tuple(cut_into_pieces(kept, inside)), len(document) - len(kept))


def _shown(text: str, limit: int) -> tuple[str, int]:
    """The text as shown (NFC, control characters visible), cut to `limit` characters, and how many were cut."""
    whole = visible(unicodedata.normalize("NFC", text)).strip()
    return (whole[:limit], max(0, len(whole) - limit)) if limit else (whole, 0)
