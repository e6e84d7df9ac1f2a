"""What a model says to a sample of documents: logits over known summaries, and greedy summaries of its own.

Every way to run a model (an engine, plain PEFT, mlx-lm, llama.cpp) gives these, so that any two can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.data.prompts import PromptFormat
from common.errors import DataError
from common.types import Example, StopReason

LOGIT_ROWS = 48  # most positions of one document whose logits are compared
LOGIT_DOCUMENTS = 4  # logits are large (a row for each position, as wide as the vocabulary): few documents do
LOGIT_DOCUMENT_TOKENS = 320  # documents are cut to this for the comparison of logits


@dataclass(frozen=True)
class Sample:
    """Documents to check an export on.

    prompts    token ids of each document's prompt
    sequences  prompt and reference summary of the first few documents, as token ids
    rows       how many last positions of each sequence are compared: those that predict the summary
    """

    examples: tuple[Example, ...]
    prompts: tuple[tuple[int, ...], ...]
    sequences: tuple[tuple[int, ...], ...]
    rows: tuple[int, ...]
    max_new_tokens: int
    eos_ids: tuple[int, ...]

    @property
    def longest(self) -> int:
        """Tokens that a context must hold for every prompt with its summary and every sequence."""
        generated = max(len(prompt) for prompt in self.prompts) + self.max_new_tokens
        return max(generated, *(len(sequence) for sequence in self.sequences))


@dataclass(frozen=True)
class Summary:
    """A greedy summary and why it stopped."""

    text: str
    stop_reason: StopReason


@dataclass(frozen=True)
class Answers:
    """What a model said. `logits[i]` has shape (rows of sequence i, vocabulary), float32.

    method    the program that ran it, in words
    dtype     coarsest floating type it stores weights or computes in
    problems  reasons not to use the model that only this program can see
    remarks   what else it has to say
    """

    method: str
    dtype: str
    logits: tuple[np.ndarray, ...]
    summaries: tuple[Summary, ...]
    problems: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def make_sample(examples: Sequence[Example], form: PromptFormat, max_new_tokens: int) -> Sample:
    """Prompts as the run makes them, and teacher-forced sequences cut short for the comparison of logits."""
    if not examples:
        raise DataError("there is no document to check the export on; give some with --documents FILE")
    prompts = form.prompts([example.document for example in examples], max_new_tokens)
    few = list(examples[:LOGIT_DOCUMENTS])
    summaries = form.summary_ids([example.summary or example.document[:200] for example in few])
    sequences, rows = [], []
    for example, summary in zip(few, summaries, strict=True):
        kept = summary[:LOGIT_ROWS]
        document = form.tokenizer.encode_text(example.document.strip())
        prompt = form.prompt_from_ids(document[:LOGIT_DOCUMENT_TOKENS], len(kept))
        sequences.append((*prompt.tokens, *kept[:-1]))
        rows.append(len(kept))
    return Sample(
        examples=tuple(examples),
        prompts=tuple(prompt.tokens for prompt in prompts),
        sequences=tuple(sequences),
        rows=tuple(rows),
        max_new_tokens=max_new_tokens,
        eos_ids=form.eos_ids,
    )
