"""A judge: which of two summaries of a document is better, asked of a model in both orders.

Models favor the place of a summary over its content (Zheng et al. 2023, "Judging LLM-as-a-judge"), so a win counts
only where both orders agree, and how often they do not is told beside it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from common.errors import DataError, RemoteError
from common.metrics.agreement import krippendorff_alpha
from common.metrics.bootstrap import Interval, bootstrap_interval
from common.progress import Progress
from common.remote.choice import Chooser
from common.remote.client import ChatClient, as_data

QUESTION = """Document:
{document}

Summary A: {first}

Summary B: {second}

Which summary is better: true to the document in all it says, and telling what matters most? Answer with one letter, \
A or B."""
Outcome = Literal["win", "loss", "flip", "same", "failed"]
_PREFERENCE = {"win": 1.0, "loss": -1.0, "flip": 0.0, "same": 0.0, "failed": math.nan}


@dataclass(frozen=True)
class JudgedPair:
    """Our summary against theirs.

    ours_first, ours_second  probability that ours is better, asked with ours as A and as B; NaN where not asked
    outcome                  `win` or `loss` where both orders agree, `flip` where they do not, `same` where the two
                             summaries are equal and nothing was asked, `failed` where an answer was missing
    """

    outcome: Outcome
    ours_first: float = math.nan
    ours_second: float = math.nan
    failure: str = ""


@dataclass(frozen=True)
class JudgeResult:
    """All pairs in the order of their documents, and the model that judged them."""

    model: str
    pairs: tuple[JudgedPair, ...]

    def count(self, outcome: Outcome) -> int:
        """How many pairs ended so."""
        return Counter(pair.outcome for pair in self.pairs)[outcome]

    @property
    def flip_rate(self) -> float:
        """Percent of the pairs judged in both orders whose winner changed with the order; NaN where none was."""
        flips = self.count("flip")
        judged = flips + self.count("win") + self.count("loss")
        return 100 * flips / judged if judged else math.nan

    def win_rate(self) -> Interval | None:
        """Percent of pairs that ours won, flips and equal summaries counting half; None where all failed."""
        scores = [50 * (1 + _PREFERENCE[pair.outcome]) for pair in self.pairs if pair.outcome != "failed"]
        return bootstrap_interval(scores) if scores else None

    def agreement(self, people: Sequence[float]) -> float | None:
        """Krippendorff's ordinal alpha between the judge and people.

        `people` holds, for each pair in order, a number above 0 where they rated ours higher, below 0 where lower, 0
        where equal, NaN where nobody rated both. None where no pair has both judgments or all are the same.
        """
        if len(people) != len(self.pairs):
            raise DataError(f"{len(people)} judgments of people for {len(self.pairs)} pairs: they must be one to one")
        table = np.array([[_PREFERENCE[pair.outcome] for pair in self.pairs], np.sign(people)], float)
        if not (~np.isnan(table)).all(axis=0).any():
            return None
        alpha = krippendorff_alpha(table, "ordinal")
        return None if math.isnan(alpha) else alpha

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        rate = self.win_rate()
        return {
            "model": self.model,
            "pairs": len(self.pairs),
            "wins": self.count("win"),
            "losses": self.count("loss"),
            "flips": self.count("flip"),
            "same": self.count("same"),
            "failed": self.count("failed"),
            "win_rate": None if rate is None else {"mean": rate.mean, "low": rate.low, "high": rate.high},
            "flip_rate": None if math.isnan(self.flip_rate) else self.flip_rate,
        }


def judge_pairs(
    documents: Sequence[str], ours: Sequence[str], theirs: Sequence[str], client: ChatClient, model: str = ""
) -> JudgeResult:
    """Have the client's model compare each summary of `ours` with that of `theirs`; `model` is what results call it.

    Raises DataError for lists of different lengths, RemoteError for what concerns all questions.
    """
    if not len(documents) == len(ours) == len(theirs):
        raise DataError(f"{len(documents)} documents, {len(ours)} and {len(theirs)} summaries: they must be one to one")
    chooser = Chooser(client, "a", "b")
    different = [
        place for place, (one, other) in enumerate(zip(ours, theirs, strict=True)) if one.strip() != other.strip()
    ]
    questions = [
        _question(documents[place], *pair)
        for place in different
        for pair in ((ours[place], theirs[place]), (theirs[place], ours[place]))
    ]
    with Progress(len(questions), "judging") as progress:
        answers = chooser.ask(questions, progress.advance)
    pairs = [JudgedPair("same")] * len(documents)
    for place, first, second in zip(different, answers[::2], answers[1::2], strict=True):
        pairs[place] = _outcome(first, second)
    return JudgeResult(model or client.model, tuple(pairs))


def _outcome(first: float | RemoteError, second: float | RemoteError) -> JudgedPair:
    """From the shares of A: the first asked with ours as A, the second with ours as B."""
    for answer in (first, second):
        if isinstance(answer, RemoteError):
            return JudgedPair("failed", failure=str(answer))
    assert isinstance(first, float)
    assert isinstance(second, float)
    when_second = 1 - second
    if first > 0.5 and when_second > 0.5:
        return JudgedPair("win", first, when_second)
    if first < 0.5 and when_second < 0.5:
        return JudgedPair("loss", first, when_second)
    return JudgedPair("flip", first, when_second)


def _question(document: str, first: str, second: str) -> str:
    pieces = {"document": document, "first": first, "second": second}
    return QUESTION.format(**{name: as_data(text) for name, text in pieces.items()})
