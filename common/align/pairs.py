"""Pairs of a better and a worse summary of a document: from the model's own samples, or from people's choices.

Knows nothing of losses or optimizer steps.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.align.dpo import EncodedPair, encoded_pair
from common.align.sampling import sample_summaries
from common.align.scoring import Reward
from common.data.encode import join
from common.data.preferences import read_preferences
from common.data.prompts import PromptFormat
from common.engine import Engine, GenerationSpec
from common.errors import DataError
from common.files import sha256_text, write_text
from common.metrics.tokens import count_words
from common.progress import Progress
from common.types import Example, Message


@dataclass(frozen=True)
class Pair:
    """Two summaries of an example. `rejected_ended` is False where the rejected one ran into its length limit.

    Scores are those that ranked the two; None where a person chose.
    """

    example: Example
    chosen: str
    rejected: str
    rejected_ended: bool = True
    chosen_score: float | None = None
    rejected_score: float | None = None


@dataclass(frozen=True)
class SamplingReport:
    """What sampling gave: documents asked about, pairs made, and why the others made none."""

    documents: int
    pairs: int
    too_similar: int
    none_ended: int

    def line(self) -> str:
        """A plain sentence for a person."""
        return (
            f"{self.pairs} pairs from {self.documents} documents; of {self.too_similar} the best and the worst sample "
            f"scored nearly the same, of {self.none_ended} no sample ended by itself"
        )


def sampled_pairs(
    engine: Engine,
    form: PromptFormat,
    examples: Sequence[Example],
    spec: GenerationSpec,
    count: int,
    reward: Reward,
    margin: float,
) -> tuple[list[Pair], SamplingReport]:
    """The best and the worst of `count` summaries of each example, where their scores differ by `margin` or more.

    A summary that ran into the length limit is never the better one. In order of the examples.
    """
    with Progress(len(examples) * count, "sampling", at_once=spec.max_batch_rows) as progress:
        samples = sample_summaries(engine, form, examples, spec, count, reward, lambda *_: progress.advance())
    texts, scores, generations = samples.texts, samples.scores, samples.generations
    pairs: list[Pair] = []
    similar = unended = 0
    for place, example in enumerate(examples):
        mine = [index for index in samples.of(place) if texts[index] and generations[index].stop_reason != "error"]
        ended = [index for index in mine if generations[index].stop_reason == "eos"]
        if not ended:
            unended += 1
            continue
        best = max(ended, key=lambda index: scores[index])
        worst = min(mine, key=lambda index: scores[index])
        if scores[best] - scores[worst] < margin or texts[best] == texts[worst]:
            similar += 1
            continue
        values = float(scores[best]), float(scores[worst])
        pairs.append(Pair(example, texts[best], texts[worst], worst in ended, *values))
    return pairs, SamplingReport(len(examples), len(pairs), similar, unended)


def rated_pairs(path: Path, dev_fraction: float, seed: int) -> tuple[list[Pair], list[Pair]]:
    """Training and dev pairs from a file of people's choices and ratings, split by document and seed.

    Raises DataError when the file cannot be read or holds no pair.
    """
    found = read_preferences(path)
    if not found:
        raise DataError(
            f"{path}: holds no pair; it needs a choice, or a good and a bad rating of summaries of one document "
            "(sumkit serve collects both)"
        )
    train: list[Pair] = []
    dev: list[Pair] = []
    for preference in found:
        key = sha256_text(preference.document)
        pair = Pair(Example(key[:12], preference.document, preference.chosen), preference.chosen, preference.rejected)
        share = int(sha256_text(f"{seed}:{key}")[:8], 16) / 16**8
        (dev if share < dev_fraction else train).append(pair)
    return (train, dev) if train else (dev, [])


def encode_pairs(pairs: Sequence[Pair], form: PromptFormat, max_new_tokens: int, label: str) -> list[EncodedPair]:
    """Both sequences of each pair, prompts as at inference. A rejected summary that never ended gets no EOS."""
    prompts = form.example_prompts([pair.example for pair in pairs], max_new_tokens)
    chosen = form.summary_ids([pair.chosen for pair in pairs])
    rejected = form.summary_ids([pair.rejected for pair in pairs])
    encoded = []
    for number, (pair, prompt) in enumerate(zip(pairs, prompts, strict=True)):
        worse = rejected[number] if pair.rejected_ended else rejected[number][:-1]
        name = f"{label}-{number}"
        encoded.append(encoded_pair(name, join("", prompt.tokens, chosen[number]), join("", prompt.tokens, worse)))
    return encoded


def write_pairs(path: Path, pairs: dict[str, list[Pair]]) -> None:
    """One JSON object a line: split, example, both summaries and their scores."""
    lines = [
        json.dumps({"split": split, **dataclasses.asdict(pair)}, ensure_ascii=False)
        for split, part in pairs.items()
        for pair in part
    ]
    write_text(path, "".join(f"{line}\n" for line in lines))


def read_pairs(path: Path) -> dict[str, list[Pair]]:
    """What `write_pairs` wrote. Raises DataError naming the damaged line."""
    found: dict[str, list[Pair]] = {"train": [], "dev": []}
    for number, row in _rows(path):
        try:
            split, example = row.pop("split"), row.pop("example")
            messages = tuple(Message(**item) for item in example.pop("messages"))
            references = tuple(example.pop("references"))
            found[split].append(Pair(Example(**example, references=references, messages=messages), **row))
        except (KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path}, line {number}: is not a pair ({error}); delete the run and align again") from None
    return found


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
            if line.strip():
                yield number, json.loads(line)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}); delete the run and align again") from None


def mean_words(pairs: Sequence[Pair]) -> tuple[float, float]:
    """Mean length in words of chosen and of rejected summaries."""
    lengths = [(count_words(pair.chosen), count_words(pair.rejected)) for pair in pairs]
    chosen, rejected = np.mean(lengths, axis=0).tolist()
    return chosen, rejected
