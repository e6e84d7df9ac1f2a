"""From summaries to results: pairing, counting of failures, baselines, overlap."""

import csv
import dataclasses
import io
import json

import numpy as np
import pytest

from common.errors import DataError
from common.evaluation.evaluate import Evaluation, baseline_predictions, score_predictions
from common.evaluation.evaluation_results import (
    overlap_facts,
    predictions_csv,
    results_of,
    score_table,
    with_measures,
    write_evaluation,
)
from common.evaluation.run_evaluation import training_overlap
from common.files import sha256_text
from common.settings import DataSettings, RunConfig
from common.types import Example, Prediction

EXAMPLES = [
    Example(
        "a", "The mill burned down on Monday. Nobody was hurt.", "A mill burned.", ("A fire.", "The mill burned down.")
    ),
    Example("b", "Rain fell for a week. The river rose by two metres.", "The river rose after rain."),
    Example("c", "Trains stop at noon. Staff strike for pay.", "Staff strike stops trains."),
]


def predictions(*texts: str, reasons: tuple[str, ...] = ("eos", "eos", "eos")) -> list[Prediction]:
    return [
        Prediction(example.id, sha256_text(example.document), text, reason)
        for example, text, reason in zip(EXAMPLES, texts, reasons, strict=True)
    ]


def evaluation(*tuned: str, reasons: tuple[str, ...] = ("eos", "eos", "eos")) -> Evaluation:
    systems = {"tuned": score_predictions("tuned", predictions(*tuned, reasons=reasons), EXAMPLES)[0]}
    for name, made in baseline_predictions(EXAMPLES).items():
        systems[name] = score_predictions(name, made, EXAMPLES)[0]
    return Evaluation(EXAMPLES, systems, "best", "words")


def evaluated(*tuned: str, reasons: tuple[str, ...] = ("eos", "eos", "eos")) -> Evaluation:
    return with_measures(evaluation(*tuned, reasons=reasons))


def test_a_prediction_of_another_document_is_an_error():
    swapped = predictions("x", "y", "z")
    swapped[0], swapped[1] = swapped[1], swapped[0]
    with pytest.raises(DataError, match="does not belong to document 'a'"):
        score_predictions("tuned", swapped, EXAMPLES)
    changed = [Prediction("a", sha256_text("another text"), "x", "eos"), *predictions("x", "y", "z")[1:]]
    with pytest.raises(DataError, match="does not belong"):
        score_predictions("tuned", changed, EXAMPLES)


def test_empty_and_failed_generations_count_as_zero_and_are_shown():
    results = results_of(evaluated("The mill burned down.", "", "", reasons=("eos", "error", "eos")))
    assert results["stop_reasons"]["tuned"] == {"eos": 2, "length": 0, "error": 1}
    assert results["systems"]["tuned"]["empty"] == 2
    assert results["systems"]["tuned"]["rouge1"]["mean"] == pytest.approx(100 / 3)
    table = score_table(results)
    assert "2 of 3 summaries finished" in table
    assert "1 failed, 2 empty" in table


def test_differences_are_paired_and_have_the_sign_of_the_gain():
    results = results_of(evaluated("The mill burned down.", "The river rose after rain.", "Staff strike stops trains."))
    difference = results["differences"]["tuned-lead1"]["rouge1"]
    gap = results["systems"]["tuned"]["rouge1"]["mean"] - results["systems"]["lead1"]["rouge1"]["mean"]
    assert difference["mean"] == pytest.approx(gap)
    assert gap > 0


def test_the_stored_reference_is_the_one_that_was_scored():
    rows = list(
        csv.DictReader(
            io.StringIO(predictions_csv(EXAMPLES, evaluated("The mill burned down.", "x", "y").systems["tuned"]))
        )
    )
    assert rows[0]["reference"] == "The mill burned down."
    assert json.loads(rows[0]["references"]) == ["A fire.", "The mill burned down."]
    assert float(rows[0]["rouge1"]) == 100.0


def test_leads_are_the_first_sentences():
    texts = [prediction.text for prediction in baseline_predictions(EXAMPLES)["lead1"]]
    assert texts[0] == "The mill burned down on Monday."


def test_scored_documents_that_were_trained_on_are_found_and_scores_shown_without_them(tmp_path):
    documents = [" ".join(f"word{i * 31 + j}" for j in range(40)) for i in range(12)]
    rows = [json.dumps({"id": str(i), "document": text, "summary": text[:40]}) for i, text in enumerate(documents)]
    for name in ("train", "dev"):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows if name == "train" else rows[:1]))
    config = RunConfig(data=DataSettings(data=str(tmp_path), leaks="keep"))
    scored = [Example("same", documents[3].upper(), "x"), Example("new", "quite another text " * 8, "y")]
    assert training_overlap(config, scored) == [0]
    systems = {
        "tuned": score_predictions(
            "tuned", [Prediction(e.id, sha256_text(e.document), e.summary, "eos") for e in scored], scored
        )[0]
    }
    systems["base"] = dataclasses.replace(systems["tuned"], scores={"rouge1": np.array([10.0, 15.0])})
    systems["tuned"].scores["rouge1"] = np.array([80.0, 20.0])
    facts = overlap_facts([0], Evaluation(scored, systems, "best", ""))
    assert facts["trained_on_ids"] == ["same"]
    assert systems["tuned"].scores["rouge1"].mean() == 50.0
    assert facts["without_them"]["tuned"]["rouge1"]["mean"] == 20.0
    assert facts["differences_without_them"]["tuned-base"]["rouge1"]["mean"] == 5.0


def test_claims_without_support_are_listed_for_each_prediction():
    texts = ("The mill burned down on Friday.", "The river rose by 19 metres in Utrecht.", "Trains stop.")
    rows = list(csv.DictReader(io.StringIO(predictions_csv(EXAMPLES, evaluated(*texts).systems["tuned"]))))
    listed = [[(claim["kind"], claim["text"]) for claim in json.loads(row["unsupported"])] for row in rows]
    assert listed[0] == [("date", "Friday")]
    assert ("number", "19") in listed[1]
    assert ("name", "Utrecht") in listed[1]
    assert listed[2] == []


def test_every_score_has_an_interval_and_every_difference_is_paired():
    results = results_of(evaluated("The mill burned down.", "Rain fell.", "Staff strike stops trains."))
    for measure in ("rouge1", "rouge2", "rougeL", "rougeLsum", "bleu", "chrf", "meteor"):
        score = results["systems"]["tuned"][measure]
        assert score["low"] <= score["mean"] <= score["high"]
        for other in ("lead1", "lead3", "random", "oracle"):
            difference = results["differences"][f"tuned-{other}"][measure]
            gap = score["mean"] - results["systems"][other][measure]["mean"]
            assert difference["mean"] == pytest.approx(gap)
            assert difference["low"] <= difference["mean"] <= difference["high"]
            if measure in ("bleu", "chrf"):  # resamples of three documents are no test
                assert difference["p_value"] is None
            else:
                assert 0 < difference["p_value"] <= 1
    assert "meteor" in results["signatures"]["meteor"]


def test_the_table_says_which_difference_would_show():
    results = results_of(evaluated("The mill burned down.", "x", "y"))
    for difference in results["differences"].values():
        difference["rouge1"]["examples"] = 6  # below, nothing is tested
    detectable = results["differences"]["tuned-lead3"]["rouge1"]["detectable"]
    assert f"(detectable: {detectable:.1f})" in score_table(results)
    assert "random sentence" in score_table(results)
    assert "oracle" in score_table(results)


def test_every_measure_is_there_for_each_example(tmp_path):
    made = evaluated("The mill burned down.", "", "Staff strike stops trains.")
    results = results_of(made)
    write_evaluation(tmp_path, made, results)
    rows = list(csv.DictReader((tmp_path / "predictions.csv").open()))
    for measure in ("rougeLsum", "chrf", "meteor", "coverage", "novel_2grams", "length_ratio", "repeated_3grams"):
        values = [float(row[measure]) for row in rows if row[measure]]
        if measure not in ("chrf",):  # whose mean is over the corpus
            stated = results["systems"]["tuned"][measure]
            mean = stated["mean"] if isinstance(stated, dict) else stated
            assert np.mean(values) == pytest.approx(mean, abs=1e-3), measure
    assert rows[1]["coverage"] == "", "an empty summary copies nothing and invents nothing"


def test_predictions_of_a_system_that_is_no_longer_evaluated_go(tmp_path):
    made = evaluated("The mill burned down.", "x", "y")
    (tmp_path / "predictions-base.csv").write_text("id,prediction\na,of another evaluation\n")
    write_evaluation(tmp_path, made, results_of(made))
    names = {path.name for path in tmp_path.glob("predictions*.csv")}
    assert names == {"predictions.csv", *(f"predictions-{name}.csv" for name in ("lead1", "lead3", "random", "oracle"))}


def test_three_documents_are_no_proof_however_large_the_gain():
    results = results_of(evaluated("The mill burned down.", "The river rose after rain.", "Staff strike stops trains."))
    found = results["differences"]["tuned-lead3"]["rouge1"]
    assert found["p_value"] > 0.05
    assert found["low"] > 0
    line = next(line for line in score_table(results).splitlines() if "from Lead-3 (" in line)
    assert line.startswith("fine-tuned is not distinguishable from Lead-3 (")
    assert line.endswith("too few documents for a test)")
    assert "detectable" not in line
