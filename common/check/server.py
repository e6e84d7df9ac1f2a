"""A checker that is a model behind an OpenAI-compatible server: asked yes or no for each sentence of a summary.

A document too long for one question is asked about in passages of whole sentences, and the best passage counts. The
evidence is the passages that share most words with the sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from common.check.overlap import DocumentWords
from common.check.passages import Span, fitting_passages
from common.check.support import Checked, DocumentSummary, SentenceSupport
from common.errors import RemoteError
from common.metrics.sentences import sentence_spans
from common.metrics.tokens import word_spans
from common.progress import Progress
from common.remote.choice import Chooser
from common.remote.client import ChatClient, ContextError, as_data

QUESTION = """Document:
{document}

Statement: {claim}

Is all of the statement supported by the document? Answer with one word, Yes or No."""
# About 2,000 tokens with the question: what the smallest usual contexts hold. Ollama cuts longer prompts in silence.
MOST_WORDS = 1200
LEAST_WORDS = 25  # a context that does not even hold so many is too small to check anything
AT_ONCE = 64  # summaries whose questions are asked together


@dataclass(frozen=True)
class _Asked:
    """A question: a sentence of the summary against a passage of its document."""

    item: int
    sentence: Span
    passage: Span


class ServerChecker:
    """Rates each sentence by the probability of `yes` over that of `yes` and `no`."""

    default_threshold = 0.5

    def __init__(self, client: ChatClient, most_words: int = MOST_WORDS) -> None:
        self.name = client.model
        self._chooser = Chooser(client, "yes", "no")
        self._most_words = most_words

    def check(self, items: Sequence[DocumentSummary]) -> list[Checked]:
        """One result for each item, in order.

        Sentences without a usable answer carry their failure. Raises RemoteError for what concerns every question:
        no server, no such model, a context too small for a short passage.
        """
        checked: list[Checked] = []
        with Progress(len(items), self.name) as progress:
            for start in range(0, len(items), AT_ONCE):
                group = items[start : start + AT_ONCE]
                checked += self._check(group)
                progress.advance(len(group))
        return checked

    def _check(self, items: Sequence[DocumentSummary]) -> list[Checked]:
        waiting = [
            _Asked(place, sentence, passage)
            for place, item in enumerate(items)
            for sentence in sentence_spans(item.summary)
            for passage in self._passages(item.document)
        ]
        answers: dict[tuple[int, Span], list[float | RemoteError]] = {}
        while waiting:
            again: list[_Asked] = []
            asked = self._chooser.ask([_question(items[one.item], one) for one in waiting])
            for one, answer in zip(waiting, asked, strict=True):
                if isinstance(answer, ContextError):
                    again += self._smaller(items[one.item].document, one, answer)
                else:
                    answers.setdefault((one.item, one.sentence), []).append(answer)
            waiting = again
        return [
            Checked(_rated(item, [(span, answers.get((place, span), [])) for span in sentence_spans(item.summary)]))
            for place, item in enumerate(items)
        ]

    def _passages(self, document: str) -> list[Span]:
        return fitting_passages(document, lambda text: len(word_spans(text)) <= self._most_words)

    def _smaller(self, document: str, asked: _Asked, refusal: ContextError) -> list[_Asked]:
        """The same question about the halves of its passage; later documents are cut as small from the start."""
        start, end = asked.passage
        words = len(word_spans(document[start:end]))
        if words <= LEAST_WORDS:
            raise refusal
        self._most_words = min(self._most_words, max(LEAST_WORDS, words // 2))
        parts = self._passages(document[start:end])
        return [_Asked(asked.item, asked.sentence, (start + first, start + last)) for first, last in parts]


def _question(item: DocumentSummary, asked: _Asked) -> str:
    passage, claim = item.document[slice(*asked.passage)], item.summary[slice(*asked.sentence)]
    return QUESTION.format(document=as_data(passage), claim=as_data(claim))


def _rated(item: DocumentSummary, answers: list[tuple[Span, list[float | RemoteError]]]) -> tuple[SentenceSupport, ...]:
    """The best passage of each sentence; a failure where any passage got no answer, for that one might support it."""
    words = DocumentWords(item.document)
    rated = []
    for (start, end), given in answers:
        failure = next((str(answer) for answer in given if isinstance(answer, RemoteError)), "")
        if failure:
            rated.append(SentenceSupport(start, end, float("nan"), failure=failure))
            continue
        support = max((answer for answer in given if isinstance(answer, float)), default=0.0)
        rated.append(
            SentenceSupport(start, end, support, words.evidence(item.summary[start:end], most_support=support))
        )
    return tuple(rated)
