"""How many tokens a run will see: the lengths of its training examples, counted, estimated or assumed.

Counted with the model's tokenizer where that is on this machine; estimated from words where it is not; assumed at
the longest allowed length where no data was named. `basis` says which. Knows nothing of FLOPs, memory or time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from common.budget.known_model import KnownModel
from common.generation.shared import common_beginning
from common.metrics.tokens import count_words
from common.settings import RunConfig
from common.types import IGNORED_LABEL, EncodedExample, Example

if TYPE_CHECKING:
    from common.run.preparation import Prepared

# English news and dialogue take 1.2 to 1.4 tokens a word with the vocabularies of the presets.
TOKENS_PER_WORD = 1.35
TEMPLATE_TOKENS = 12
ASSUMED_SUMMARY_TOKENS = 48

Basis = Literal["counted", "estimated from words", "assumed"]


@dataclass(frozen=True)
class Workload:
    """Lengths (tokens, target rows) of each training and dev example, and where they come from.

    shared_tokens  first tokens that all training examples have in common; 0 where they were not counted
    """

    lengths: tuple[tuple[int, int], ...]
    basis: Basis
    cut_examples: int = 0
    dev_lengths: tuple[tuple[int, int], ...] = ()
    shared_tokens: int = 0

    @property
    def tokens(self) -> int:
        return sum(tokens for tokens, _ in self.lengths)

    @property
    def target_tokens(self) -> int:
        return sum(targets for _, targets in self.lengths)

    @property
    def longest(self) -> int:
        return max(tokens for tokens, _ in self.lengths)

    @property
    def longest_prompt(self) -> int:
        return max(tokens - targets for tokens, targets in self.lengths)

    def describe(self) -> str:
        """One line for a person."""
        count = len(self.lengths)
        if self.basis == "assumed":
            return f"examples of {self.tokens} tokens, {self.target_tokens} of them summary (assumed; give --data)"
        said = f"{count:,} examples, {self.tokens:,} tokens, {self.target_tokens:,} of them summary ({self.basis})"
        return said + (f"; {self.cut_examples:,} documents are cut to fit" if self.cut_examples else "")


def find_workload(config: RunConfig, model: KnownModel) -> Workload:
    """The training examples' lengths under these settings. Raises DataError when the data cannot be used."""
    if not config.data.data:
        longest = min(config.prompt.max_length, model.shape.context_tokens)
        return Workload(((longest, min(ASSUMED_SUMMARY_TOKENS, longest // 2)),), "assumed")
    if model.directory is not None and (model.directory / "tokenizer.json").is_file():
        return _counted(config)
    return _estimated(config, model)


def stand_ins(lengths: Sequence[tuple[int, int]]) -> list[EncodedExample]:
    """Encoded examples of these lengths with nothing in them or in common, for planning batches."""
    examples = []
    for index, (tokens, targets) in enumerate(lengths):
        labels = np.zeros(tokens, np.int32)
        labels[: tokens - targets] = IGNORED_LABEL
        examples.append(EncodedExample(str(index), np.full(tokens, index, np.int32), labels))
    return examples


def lengths_of(encoded: Sequence[EncodedExample]) -> tuple[tuple[int, int], ...]:
    """(tokens, target rows) of each example."""
    return tuple((len(item), int((item.labels != IGNORED_LABEL).sum())) for item in encoded)


def counted_workload(prepared: Prepared) -> Workload:
    """The lengths of what training itself will read."""
    train = prepared.train_set
    return Workload(
        lengths_of(train),
        "counted",
        prepared.report.cut_examples,
        lengths_of(prepared.dev_set),
        common_beginning(train),
    )


def _counted(config: RunConfig) -> Workload:
    from common.run.preparation import prepare

    return counted_workload(prepare(config))


def _estimated(config: RunConfig, model: KnownModel) -> Workload:
    from common.data.sources import load_splits
    from common.run.preparation import subset

    splits, seed = load_splits(config.data, config.training.seed), config.training.seed
    longest = min(config.prompt.max_length, model.shape.context_tokens)
    wanted = [_estimate(example, config) for example in subset(splits.train, config.data.limit_train, seed)]
    dev = [_estimate(example, config) for example in subset(splits.dev, config.data.limit_dev, seed)]
    cut = sum(tokens > longest for tokens, _ in wanted)
    fitted, dev_fitted = (
        tuple((min(tokens, longest), min(targets, longest // 2)) for tokens, targets in lengths)
        for lengths in (wanted, dev)
    )
    return Workload(fitted, "estimated from words", cut, dev_fitted)


def _estimate(example: Example, config: RunConfig) -> tuple[int, int]:
    """(tokens, target rows) of an example from its words, nothing cut yet."""
    summary = math.ceil(count_words(example.summary) * TOKENS_PER_WORD) + 1  # and its end-of-text token
    document = math.ceil(count_words(example.document) * TOKENS_PER_WORD)
    if config.prompt.max_document_tokens:
        document = min(document, config.prompt.max_document_tokens)
    return TEMPLATE_TOKENS + document + summary, summary
