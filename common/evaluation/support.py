"""Whether documents support the summaries of an evaluation: every model's, Lead-3's and the references'."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from common.check.calibration import calibrate
from common.check.results import SupportCheck, first_failure, support_figures
from common.check.support import Checked, Checker, DocumentSummary
from common.errors import RemoteError
from common.evaluation.evaluate import Evaluation, SystemScores
from common.metrics.bootstrap import paired_difference
from common.progress import Progress

UNCHECKED = ("lead1", "random", "oracle")  # copied sentences: Lead-3 stands for them
_AT_ONCE = 64


def check_support(evaluation: Evaluation, checker: Checker) -> Evaluation:
    """The evaluation with its summaries checked, by a threshold set on errors planted in its references."""
    examples = evaluation.examples
    calibration = calibrate(checker, [(example.document, example.summary) for example in examples])
    threshold = calibration.threshold if calibration else checker.default_threshold
    names = [name for name in evaluation.systems if name not in UNCHECKED]
    texts = {name: [prediction.text for prediction in evaluation.systems[name].predictions] for name in names}
    texts[""] = [example.summary for example in examples]
    # All summaries of a document follow each other, so that a checker reads it once.
    items = [DocumentSummary(example.document, texts[name][i]) for i, example in enumerate(examples) for name in texts]
    checked: list[Checked] = []
    with Progress(len(items), "checking support") as progress:
        for start in range(0, len(items), _AT_ONCE):
            checked += checker.check(items[start : start + _AT_ONCE])
            progress.advance(len(checked) - start)
    failed = sum(bool(one.failure) for one in checked)
    if failed:
        raise RemoteError(
            f"the checker could not rate {failed} of {len(checked)} summaries ({first_failure(checked)}); systems are "
            "compared on the same documents, so all must be rated: use another --checker"
        )
    by_name = {name: tuple(checked[place :: len(texts)]) for place, name in enumerate(texts)}
    systems = {
        name: replace(system, checked=by_name[name]) if name in by_name else system
        for name, system in evaluation.systems.items()
    }
    return replace(evaluation, systems=systems, support=SupportCheck(checker.name, threshold, calibration, by_name[""]))


def supported(system: SystemScores, threshold: float) -> np.ndarray:
    """100 for each supported summary of a checked system and 0 for others, shape (examples,)."""
    return np.array([100.0 * (bool(c.sentences) and c.support >= threshold) for c in system.checked])


def support_results(system: SystemScores, check: SupportCheck | None) -> dict[str, Any]:
    """`supported` and `support` of one system; nothing where it was not checked."""
    return support_figures(system.checked, check.threshold) if check and system.checked else {}


def support_difference(ours: SystemScores, theirs: SystemScores, check: SupportCheck | None) -> dict[str, Any]:
    """The paired difference in percent of supported summaries; nothing where one was not checked."""
    if not (check and ours.checked and theirs.checked):
        return {}
    pair = (supported(system, check.threshold) for system in (ours, theirs))
    return {"supported": paired_difference(*pair).as_dict()}


def support_columns(system: SystemScores, check: SupportCheck | None) -> Mapping[str, list[str]]:
    """Columns of predictions.csv: `support`, `supported` (1 or 0) and `sentences`, the contract's list as JSON."""
    if not (check and system.checked):
        return {}
    return {
        "support": [f"{item.support:.4f}" for item in system.checked],
        "supported": [str(int(value > 0)) for value in supported(system, check.threshold)],
        "sentences": [json.dumps([sentence.as_dict() for sentence in item.sentences]) for item in system.checked],
    }
