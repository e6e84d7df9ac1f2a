"""sample_predictions.txt: the report's examples as plain text, safe to print in a terminal."""

from __future__ import annotations

import textwrap

from common.report.content import ReportContent
from common.report.examples import MarkedText, ShownExample
from common.report.tables import STOP_LABELS
from common.text.amounts import decimal
from common.text.names import metric_label

LINE = 100
DOCUMENT_CHARACTERS = 600


def sample_text(content: ReportContent) -> str:
    """Every shown example: document (its beginning), reference, summaries, scores and what it does not support."""
    parts = [f"Sample predictions of {content.run.name}", content.verdict.sentence, ""]
    for group, examples in content.examples.items():
        for example in examples:
            parts += [f"== {group} · {example.id} · {score_line(example)}", ""]
            beginning = plain(example.document)[:DOCUMENT_CHARACTERS]
            cut = example.document.left_out or len(beginning) == DOCUMENT_CHARACTERS
            parts += [_paragraph("document", beginning + (" …" if cut else ""))]
            parts += [_paragraph("reference", plain(example.reference))]
            for text in example.summaries:
                parts.append(_paragraph(text.label, plain(text) or "(empty)"))
                if text.unsupported:
                    listed = ", ".join(f"{claim} ({kind})" for claim, kind in text.unsupported)
                    parts.append(_paragraph(f"{text.label}, not in the document", listed))
            parts.append("")
    return "\n".join(parts)


def plain(text: MarkedText) -> str:
    """The text without its marks."""
    return "".join(piece.text for piece in text.pieces)


def score_line(example: ShownExample) -> str:
    """`ROUGE-1 41.2 · ROUGE-2 18.0 · ROUGE-L 33.1 · finished`."""
    parts = [f"{metric_label(name)} {decimal(value)}" for name, value in example.scores]
    if example.stop_reason:
        parts.append(STOP_LABELS.get(example.stop_reason, example.stop_reason))
    return " · ".join(parts)


def _paragraph(label: str, text: str) -> str:
    indent = "    "
    lines = [
        textwrap.fill(line, LINE, initial_indent=indent, subsequent_indent=indent) for line in text.split("\n") if line
    ]
    return f"  {label}:\n" + "\n".join(lines)
