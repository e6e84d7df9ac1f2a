"""Support in an evaluation: in results, in predictions, and as a difference between systems."""

from __future__ import annotations

import csv
import json

import numpy as np

from common.check.built_in import BuiltIn
from common.data.named import demo_tables
from common.evaluation.evaluate import Evaluation, baseline_predictions, score_predictions
from common.evaluation.evaluation_results import results_of, with_measures, write_evaluation
from common.evaluation.support import check_support
from common.files import sha256_text
from common.types import Example, Prediction

EXAMPLES = [
    Example(row.values["id"], row.values["document"], row.values["summary"])
    for row in demo_tables("test")["test"].rows[:24]
]


def predictions(texts):
    pairs = zip(EXAMPLES, texts, strict=True)
    return [Prediction(example.id, sha256_text(example.document), text, "eos") for example, text in pairs]


def evaluation() -> Evaluation:
    """The tuned system copies a sentence; the untuned one invents, and says nothing in one case."""
    copied = [prediction.text for prediction in baseline_predictions(EXAMPLES)["lead1"]]
    invented = ["The minister praised a new airport in Lisbon."] * (len(EXAMPLES) - 1) + [""]
    texts = {"tuned": predictions(copied), "base": predictions(invented), **baseline_predictions(EXAMPLES)}
    systems = {name: score_predictions(name, made, EXAMPLES)[0] for name, made in texts.items()}
    return check_support(with_measures(Evaluation(EXAMPLES, systems, "best", "rouge-score")), BuiltIn())


def test_results_hold_support_by_system_with_the_checker_and_the_references():
    results = results_of(evaluation())
    systems = results["systems"]
    assert systems["tuned"]["supported"]["mean"] > 80 > 20 > systems["base"]["supported"]["mean"]
    assert systems["tuned"]["support"]["mean"] > systems["base"]["support"]["mean"]
    assert "supported" in systems["lead3"]
    assert "supported" not in systems["random"]
    assert results["differences"]["tuned-base"]["supported"]["low"] > 0
    assert results["checker"]["name"] == "built-in"
    assert results["checker"]["measured_on"] == "planted errors"
    assert 0 <= results["references"]["supported"]["mean"] <= 100
    json.dumps(results)


def test_predictions_hold_each_summarys_support_and_sentences(tmp_path):
    made = evaluation()
    write_evaluation(tmp_path, made, results_of(made))
    with (tmp_path / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row, checked in zip(rows, made.systems["tuned"].checked, strict=True):
        sentences = json.loads(row["sentences"])
        assert abs(float(row["support"]) - min(sentence["support"] for sentence in sentences)) < 1e-4
        assert row["supported"] == str(int(checked.support >= made.support.threshold))
        passage = sentences[0]["evidence"][0]
        assert row["document"][passage["start"] : passage["end"]].strip()
    with (tmp_path / "predictions-base.csv").open(newline="") as file:
        last = list(csv.DictReader(file))[-1]
    assert (last["support"], last["supported"], last["sentences"]) == ("0.0000", "0", "[]")


def test_documents_are_paired_with_their_own_summaries():
    made = evaluation()
    alone = BuiltIn()
    from common.check.support import DocumentSummary

    for name in ("tuned", "base", "lead3"):
        system = made.systems[name]
        expected = alone.check(
            [DocumentSummary(e.document, p.text) for e, p in zip(EXAMPLES, system.predictions, strict=True)]
        )
        assert np.array_equal([c.support for c in system.checked], [c.support for c in expected])
