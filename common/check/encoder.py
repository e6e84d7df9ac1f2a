"""Checkers that are encoders: classifiers of pairs (entailment) and of tokens (hallucination), by Hub id or directory.

Pair classifiers rate each sentence of the summary against the document in passages as long as the model reads, and
the best passage counts. Token classifiers read the whole summary beside the document; a sentence's support is one
less the largest probability of `hallucinated` among its tokens, and in a document of several passages each token
takes the passage that supports it best. Needs torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.check.overlap import DocumentWords
from common.check.passages import Span, fitting_passages
from common.check.published import count_marks, hallucinated_label, protocol_of, supported_label
from common.check.support import Checked, Checker, DocumentSummary, Evidence, SentenceSupport
from common.errors import ModelError
from common.metrics.sentences import sentence_spans
from common.model.encoders import encoder_config, load_encoder
from common.progress import Progress

PURPOSE = "checking summaries"
BATCH_TOKENS = 8192  # tokens of one run of the model, padding included
AT_ONCE = 32  # summaries whose inputs are sorted by length together
_USUAL_LENGTH = 512  # where neither tokenizer nor config names one
_UNLIMITED = 10**6
# Position 0 of these stands behind the padding index.
_OFFSET_POSITIONS = frozenset({"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "longformer", "mpnet"})

Probabilities = NDArray[np.float32]
Inputs = dict[str, list[int]]


def load_encoder_checker(model: str) -> Checker:
    """The checker that a model is. Raises ModelError for a model that is none, EngineError without torch."""
    config = encoder_config(model, PURPOSE, "--checker")
    architectures = tuple(getattr(config, "architectures", None) or ())
    if any(name.endswith("ForSequenceClassification") for name in architectures):
        return PairChecker(model, config)
    if any(name.endswith("ForTokenClassification") for name in architectures):
        return TokenChecker(model, config)
    listed = ", ".join(architectures) or "none"
    raise ModelError(
        f"{model} cannot be used as a checker: it must be a classifier of sentence pairs or tokens, and its "
        f"config.json names the architecture {listed}"
    )


class Encoder:
    """A loaded classifier: inputs to probabilities, in batches by length, padded on the right."""

    def __init__(self, model: str, config: Any, kind: str, most_tokens: int) -> None:
        import torch

        self.tokenizer, self._model = load_encoder(model, kind, PURPOSE)
        self.tokenizer.padding_side = "right"
        self.most_tokens = _most_tokens(self.tokenizer, config, most_tokens)
        self._sigmoid = config.problem_type == "multi_label_classification" or config.num_labels == 1
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model.to(self._device)

    def probabilities(self, inputs: Sequence[Inputs]) -> list[Probabilities]:
        """Of each input, shape (labels,) or (T, labels): softmax, or sigmoid where labels do not exclude each other."""
        import torch

        results: list[Probabilities] = [np.zeros(0, np.float32)] * len(inputs)
        for rows in _batches([len(one["input_ids"]) for one in inputs]):
            padded = self.tokenizer.pad([inputs[row] for row in rows], return_tensors="pt").to(self._device)
            with torch.inference_mode():
                logits = self._model(**padded).logits.float()
            found = (logits.sigmoid() if self._sigmoid else logits.softmax(-1)).cpu().numpy()
            for row, values in zip(rows, found, strict=True):
                results[row] = values[: len(inputs[row]["input_ids"])] if values.ndim == 2 else values
        return results


class PairChecker:
    """Rates each sentence of a summary by the probability of entailment. Threshold 0.5 where none was calibrated."""

    default_threshold = 0.5

    def __init__(self, model: str, config: Any) -> None:
        self.name = Path(model).name if Path(model).is_dir() else model
        self._protocol = protocol_of(model, of_tokens=False)
        self._label = supported_label(model, config.id2label, self._protocol)
        self._encoder = Encoder(model, config, "AutoModelForSequenceClassification", self._protocol.most_tokens)

    def check(self, items: Sequence[DocumentSummary]) -> list[Checked]:
        """One result for each item, in order."""
        return list(_in_groups(items, self._check, self.name))

    def _check(self, items: Sequence[DocumentSummary]) -> list[Checked]:
        inputs: dict[tuple[str, str], Inputs] = {}
        asked = [self._ask(item, inputs) for item in items]
        found = self._encoder.probabilities(list(inputs.values()))
        supports = {pair: float(values[self._label]) for pair, values in zip(inputs, found, strict=True)}
        return [
            Checked(tuple(self._rated(item, span, passages, near, supports) for span, passages, near in sentences))
            for item, sentences in zip(items, asked, strict=True)
        ]

    def _ask(
        self, item: DocumentSummary, inputs: dict[tuple[str, str], Inputs]
    ) -> list[tuple[Span, list[Span], list[Span]]]:
        """Each sentence with the passages it is rated against and those that may be its evidence; inputs gathered."""
        words = DocumentWords(item.document)
        asked = []
        for start, end in sentence_spans(item.summary):
            claim = item.summary[start:end]
            passages: list[Span] = []
            near: list[Span] = []
            if self._length("", claim) <= self._encoder.most_tokens // 2:
                passages = fitting_passages(item.document, partial(self._fits, claim=claim))
                spans = [(found.start, found.end) for found in words.evidence(claim)]
                near = [span for span in spans if self._fits(item.document[slice(*span)], claim)]
            for span in (*passages, *near):
                text = self._protocol.passage(item.document, span)
                if (text, claim) not in inputs:
                    inputs[text, claim] = self._encode(text, claim)
            asked.append(((start, end), passages, near))
        return asked

    def _rated(
        self,
        item: DocumentSummary,
        sentence: Span,
        passages: list[Span],
        near: list[Span],
        supports: dict[tuple[str, str], float],
    ) -> SentenceSupport:
        claim = item.summary[slice(*sentence)]

        def rated(spans: list[Span]) -> list[Evidence]:
            found = [Evidence(*span, supports[self._protocol.passage(item.document, span), claim]) for span in spans]
            return sorted(found, key=lambda passage: (-passage.support, passage.start))

        if not passages:
            return _unrated(sentence, item, self._encoder.most_tokens)
        best = rated(passages)
        return SentenceSupport(*sentence, best[0].support, tuple(rated(near) or best[:1]))

    def _fits(self, text: str, claim: str) -> bool:
        protocol = self._protocol
        if protocol.passage_words and count_marks(text) > protocol.passage_words:
            return False
        passage = protocol.passage(text, (0, len(text)))
        if protocol.passage_tokens:
            pieces = self._encoder.tokenizer(passage, add_special_tokens=False, verbose=False)["input_ids"]
            if len(pieces) > protocol.passage_tokens:
                return False
        return self._length(passage, claim) <= self._encoder.most_tokens

    def _length(self, passage: str, claim: str) -> int:
        return len(self._encode(passage, claim)["input_ids"])

    def _encode(self, passage: str, claim: str) -> Inputs:
        tokenizer, text = self._encoder.tokenizer, self._protocol.text
        if not text:
            return dict(tokenizer(passage, claim, verbose=False))
        eos = tokenizer.eos_token or tokenizer.sep_token or ""
        return dict(tokenizer(text.format(document=passage, claim=claim, eos=eos), verbose=False))


class TokenChecker:
    """Rates each sentence of a summary by its token that is likeliest hallucinated."""

    default_threshold = 0.5  # the published use takes the likelier of the two labels

    def __init__(self, model: str, config: Any) -> None:
        self.name = Path(model).name if Path(model).is_dir() else model
        self._protocol = protocol_of(model, of_tokens=True)
        self._label = hallucinated_label(model, config.id2label, self._protocol)
        self._encoder = Encoder(model, config, "AutoModelForTokenClassification", self._protocol.most_tokens)

    def check(self, items: Sequence[DocumentSummary]) -> list[Checked]:
        """One result for each item, in order."""
        return list(_in_groups(items, self._check, self.name))

    def _check(self, items: Sequence[DocumentSummary]) -> list[Checked]:
        inputs: list[Inputs] = []
        owners: list[int] = []
        offsets: list[list[tuple[int, Span]]] = []
        for place, item in enumerate(items):
            for span in self._passages(item):
                encoded = self._encode(item.document[slice(*span)], item.summary)
                offsets.append(_own_tokens(encoded))
                inputs.append({name: encoded[name] for name in ("input_ids", "attention_mask")})
                owners.append(place)
        best: dict[int, list[tuple[Span, float]]] = {}
        for place, tokens, values in zip(owners, offsets, self._encoder.probabilities(inputs), strict=True):
            rated = [(span, float(values[index, self._label])) for index, span in tokens]
            before = best.get(place, rated)
            best[place] = [(span, min(p, q)) for (span, p), (_, q) in zip(before, rated, strict=True)]
        return [self._rated(item, best.get(place)) for place, item in enumerate(items)]

    def _passages(self, item: DocumentSummary) -> list[Span]:
        """Of the document, each with room for the whole summary; none where the summary takes more than half."""
        if not sentence_spans(item.summary) or self._length("", item.summary) > self._encoder.most_tokens // 2:
            return []
        most = self._encoder.most_tokens
        return fitting_passages(item.document, lambda text: self._length(text, item.summary) <= most)

    def _rated(self, item: DocumentSummary, tokens: list[tuple[Span, float]] | None) -> Checked:
        words = DocumentWords(item.document)
        rated = []
        for start, end in sentence_spans(item.summary):
            if tokens is None:
                rated.append(_unrated((start, end), item, self._encoder.most_tokens))
                continue
            worst = max((p for (first, last), p in tokens if first < end and last > start), default=0.0)
            evidence = words.evidence(item.summary[start:end], most_support=1 - worst)
            rated.append(SentenceSupport(start, end, 1 - worst, evidence))
        return Checked(tuple(rated))

    def _length(self, passage: str, summary: str) -> int:
        return len(self._encode(passage, summary)["input_ids"])

    def _encode(self, passage: str, summary: str) -> Any:
        prompt = self._protocol.text.format(document=passage)
        return self._encoder.tokenizer(prompt, summary, return_offsets_mapping=True, verbose=False)


def _own_tokens(encoded: Any) -> list[tuple[int, Span]]:
    """Place and offsets of each token of the summary, which is the second text."""
    return [
        (place, (start, end))
        for place, (part, (start, end)) in enumerate(
            zip(encoded.sequence_ids(0), encoded["offset_mapping"], strict=True)
        )
        if part == 1 and end > start
    ]


def _unrated(sentence: Span, item: DocumentSummary, most_tokens: int) -> SentenceSupport:
    """A sentence that the model cannot read, or any sentence where the document says nothing: that supports nothing."""
    if not sentence_spans(item.document):
        return SentenceSupport(*sentence, 0.0)
    failure = f"too long for the checker, which reads {most_tokens} tokens at once"
    return SentenceSupport(*sentence, float("nan"), failure=failure)


def _in_groups(items: Sequence[DocumentSummary], check: Any, name: str) -> Iterator[Checked]:
    with Progress(len(items), name) as progress:
        for start in range(0, len(items), AT_ONCE):
            group = items[start : start + AT_ONCE]
            yield from check(group)
            progress.advance(len(group))


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Rows from long to short, as many together as BATCH_TOKENS allow."""
    order = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    while order:
        size = max(1, BATCH_TOKENS // max(1, lengths[order[0]]))
        yield order[:size]
        order = order[size:]


def _most_tokens(tokenizer: Any, config: Any, published: int) -> int:
    """How long an input may be: as published, else as the tokenizer says, and never beyond the model's positions."""
    limits = [published or int(tokenizer.model_max_length)]
    positions = getattr(config, "max_position_embeddings", 0) or 0
    relative = getattr(config, "relative_attention", False) and not getattr(config, "position_biased_input", True)
    if positions > 0 and not relative:
        offset = (config.pad_token_id or 0) + 1 if config.model_type in _OFFSET_POSITIONS else 0
        limits.append(positions - offset)
    most = min(limits)
    return most if most < _UNLIMITED else _USUAL_LENGTH
