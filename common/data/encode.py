"""From examples to token ids and labels. The summary is never cut; what did not fit is counted and reported."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from common.data.prompts import PromptFormat
from common.errors import ModelError
from common.types import IGNORED_LABEL, EncodedExample, Example

CHUNK = 2048  # examples encoded at once: bounds memory while the tokenizer's threads stay busy


@dataclass(frozen=True)
class EncodeReport:
    """What encoding did to a set: counts of examples and tokens, and ids of those left out."""

    examples: int = 0
    tokens: int = 0
    target_tokens: int = 0
    cut_examples: int = 0
    cut_tokens: int = 0
    long_summaries: tuple[str, ...] = ()
    no_room: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    max_summary_tokens: int = 0
    refusal: str = ""

    def lines(self) -> list[str]:
        """Plain sentences for a person."""
        said = [f"{self.examples} examples, {self.tokens} tokens, {self.target_tokens} of them trained"]
        if self.cut_examples:
            were = "document was" if self.cut_examples == 1 else "documents were"
            said.append(f"{self.cut_examples} {were} cut, {self.cut_tokens} tokens in all")
        if self.long_summaries:
            limit = f"{self.max_summary_tokens} tokens; raise --max-summary-tokens or --max-length to keep them"
            said.append(f"{len(self.long_summaries)} examples left out: summary longer than {limit}")
        if self.no_room:
            said.append(f"{len(self.no_room)} examples left out: no document token fits beside the summary")
        if self.refused:
            said.append(f"{len(self.refused)} conversations left out: {self.refusal}")
        return said


def encode_examples(
    examples: Sequence[Example], prompt_format: PromptFormat
) -> tuple[list[EncodedExample], EncodeReport]:
    """Encode for training, in order; over-length documents lose text, over-length summaries their example."""
    encoded: list[EncodedExample] = []
    cut_examples = cut_tokens = 0
    long_summaries: list[str] = []
    no_room: list[str] = []
    refused: dict[str, str] = {}
    for example, document_ids, summary_ids in _tokenized(examples, prompt_format):
        if example.messages and prompt_format.chat:
            try:
                fitted = prompt_format.chat.fit(
                    example.id, example.messages, prompt_format.max_length, prompt_format.max_summary_tokens
                )
            except ModelError as error:
                refused[example.id] = str(error)
                continue
            if fitted.example is None:
                (long_summaries if fitted.long_answer else no_room).append(example.id)
                continue
            cut_examples += fitted.cut_tokens > 0
            cut_tokens += fitted.cut_tokens
            encoded.append(fitted.example)
            continue
        if len(summary_ids) > prompt_format.max_summary_tokens:
            long_summaries.append(example.id)
            continue
        if prompt_format.document_room(len(summary_ids)) < 1 or not document_ids:
            no_room.append(example.id)
            continue
        prompt = prompt_format.prompt_from_ids(document_ids, len(summary_ids))
        cut_examples += prompt.cut_tokens > 0
        cut_tokens += prompt.cut_tokens
        encoded.append(join(example.id, prompt.tokens, summary_ids))
    report = EncodeReport(
        examples=len(encoded),
        tokens=sum(len(item) for item in encoded),
        target_tokens=sum(int((item.labels != IGNORED_LABEL).sum()) for item in encoded),
        cut_examples=cut_examples,
        cut_tokens=cut_tokens,
        long_summaries=tuple(long_summaries),
        no_room=tuple(no_room),
        refused=tuple(refused),
        refusal=next(iter(refused.values()), ""),
        max_summary_tokens=prompt_format.max_summary_tokens,
    )
    return encoded, report


def join(example_id: str, prompt: Sequence[int], summary: Sequence[int]) -> EncodedExample:
    """Prompt and summary as one example: labels ignore the prompt, train every summary token."""
    tokens = np.array([*prompt, *summary], dtype=np.int32)
    labels = tokens.copy()
    labels[: len(prompt)] = IGNORED_LABEL
    return EncodedExample(example_id, tokens, labels)


def _tokenized(
    examples: Sequence[Example], prompt_format: PromptFormat
) -> Iterator[tuple[Example, list[int], list[int]]]:
    for start in range(0, len(examples), CHUNK):
        part = examples[start : start + CHUNK]
        documents = prompt_format.tokenizer.encode_texts([example.document.strip() for example in part])
        summaries = prompt_format.summary_ids([example.summary for example in part])
        yield from zip(part, documents, summaries, strict=True)
