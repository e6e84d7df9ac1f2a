"""How many tokens a run will see: the lengths of its training examples, counted, estimated or assumed.

Counted with the model's tokenizer where that is on this machine; estimated from words where it is not; assumed at
the longest allowed length where no data was named. `basis` says which. Knows nothing of FLOPs, memory or time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from common.budget.known_model import KnownModel
from common.settings import RunConfig

# English news and dialogue take 1.2 to 1.4 tokens a word with the vocabularies of the presets.
TOKENS_PER_WORD = 1.35
TEMPLATE_TOKENS = 12
ASSUMED_SUMMARY_TOKENS = 48

Basis = Literal["counted", "estimated from words", "assumed"]


@dataclass(frozen=True)
class Workload:
    """Lengths (tokens, target rows) of each training example of one epoch, and where they come from."""

    lengths: tuple[tuple[int, int], ...]
    basis: Basis
    cut_examples: int = 0

    @property
    def tokens(self) -> int:
        return sum(tokens for tokens, _ in self.lengths)

    @property
    def target_tokens(self) -> int:
        return sum(targets for _, targets in self.lengths)

    @property
    def longest(self) -> int:
        return max(tokens for tokens, _ in self.lengths)

    def describe(self) -> str:
        """One line for a person."""
        count = len(self.lengths)
        if self.basis == "assumed":
            return f"one example of {self.tokens} tokens, {self.target_tokens} of them summary (assumed; give --data)"
        said = f"{count:,} examples, {self.tokens:,} tokens, {self.target_tokens:,} of them summary ({self.basis})"
        return said + (f"; {self.cut_examples:,} documents are cut to fit" if self.cut_examples else "")


def find_workload(config: RunConfig, model: KnownModel) -> Workload:
    """The training examples' lengths under these settings. Raises DataError when the data cannot be used."""
    if not config.data.data:
        longest = min(config.prompt.max_length, model.shape.context_tokens)
        return Workload(((longest, min(ASSUMED_SUMMARY_TOKENS, longest // 2)),), "assumed")
    if model.directory is not None and (model.directory / "tokenizer.json").is_file():
        return _counted(config, model)
    return _estimated(config, model)


def _counted(config: RunConfig, model: KnownModel) -> Workload:
    from common.training import prepare
    from common.types import IGNORED_LABEL

    prepared = prepare(config)
    lengths = tuple((len(item), int((item.labels != IGNORED_LABEL).sum())) for item in prepared.train_set)
    return Workload(lengths, "counted", prepared.report.cut_examples)


def _estimated(config: RunConfig, model: KnownModel) -> Workload:
    from common.data.sources import load_splits
    from common.data.words import count_words
    from common.training import subset

    examples = load_splits(config.data, config.training.seed).train
    longest = min(config.prompt.max_length, model.shape.context_tokens)
    lengths, cut = [], 0
    for example in subset(examples, config.data.limit_train, config.training.seed):
        summary = math.ceil(count_words(example.summary) * TOKENS_PER_WORD) + 1  # and its end-of-text token
        document = math.ceil(count_words(example.document) * TOKENS_PER_WORD)
        if config.prompt.max_document_tokens:
            document = min(document, config.prompt.max_document_tokens)
        wanted = TEMPLATE_TOKENS + document + summary
        cut += wanted > longest
        lengths.append((min(wanted, longest), min(summary, longest // 2)))
    return Workload(tuple(lengths), "estimated from words", cut)
