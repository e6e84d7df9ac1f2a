"""Summaries with evidence, and the best supported of several."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from common.cli.summarize import command
from common.run.directory import RunDirectory
from common.summarize.faithful import BY_DEFAULT, SAMPLES, calibrated, key_sentence, most_supported
from common.summarize.summarizer import Summarizer

DOCUMENT = (
    "The council voted on Monday to close the old bridge for repairs until the end of spring. Engineers said that the "
    "work would cost four million. Traffic will be led over the ring road. Nobody was hurt."
)
TRUE = "The council voted to close the old bridge."
FALSE = "The minister praised a new airport in Lisbon."


def test_the_best_supported_candidate_is_chosen():
    chosen = most_supported(DOCUMENT, [FALSE, TRUE, f"{TRUE} {FALSE}"])
    assert (chosen.text, chosen.place, chosen.dropped, chosen.from_document) == (TRUE, 1, (), False)


def test_the_first_of_equals_is_kept_as_it_is():
    text = f"  {TRUE}\n"
    assert most_supported(DOCUMENT, [text, TRUE]).text == text


def test_an_unsupported_sentence_is_left_out_and_named():
    chosen = most_supported(DOCUMENT, [f"{FALSE} {TRUE}"])
    assert (chosen.text, chosen.dropped) == (TRUE, (FALSE,))
    (sentence,) = chosen.checked.sentences
    assert chosen.text[sentence.start : sentence.end] == TRUE


def test_where_nothing_is_supported_the_documents_own_key_sentence_is_given_and_said():
    chosen = most_supported(DOCUMENT, [FALSE, ""])
    assert chosen.from_document
    assert chosen.text == key_sentence(DOCUMENT)
    assert chosen.text in DOCUMENT
    assert chosen.dropped == (FALSE,)


def test_a_threshold_that_nothing_reaches_drops_everything():
    strict = dataclasses.replace(BY_DEFAULT, threshold=1.1)
    assert most_supported(DOCUMENT, [TRUE], strict).from_document


@pytest.mark.parametrize("engine", ["mlx", "cuda"])
def test_a_model_gives_one_of_its_own_supported_sentences_or_the_documents(
    engine: str, load: Callable[[str], Summarizer]
) -> None:
    plain, faithful = (load(engine).summarize([DOCUMENT] * 2, faithful=count) for count in (0, SAMPLES))
    for before, after in zip(plain, faithful, strict=True):
        assert len(after.candidates) == SAMPLES
        assert after.candidates[0] == before.text
        assert len(set(after.candidates)) > 1
        assert after.support is not None
        if after.from_document:
            assert after.text in DOCUMENT
        else:
            assert after.support >= BY_DEFAULT.threshold
        assert after.tokens > before.tokens


@pytest.mark.parametrize("engine", ["mlx", "cuda"])
def test_evidence_changes_no_summary_and_points_into_the_document(engine: str, load: Callable[[str], Summarizer]):
    plain, shown = (load(engine).summarize(DOCUMENT, evidence=asked) for asked in (False, True))
    assert (plain.text, plain.sentences, plain.support) == (shown.text, (), None)
    assert "".join(shown.text[s.start : s.end] for s in shown.sentences).strip()
    for sentence in shown.sentences:
        assert all(DOCUMENT[passage.start : passage.end].strip() for passage in sentence.evidence)


def test_the_threshold_is_that_of_the_runs_evaluation_where_its_checker_tells(tmp_path: Path):
    run = RunDirectory(tmp_path)
    assert calibrated(run) == BY_DEFAULT
    for tells, expected in ((True, 0.7), (False, BY_DEFAULT.threshold)):
        run.results.write_text(json.dumps({"checker": {"name": "built-in", "threshold": 0.7, "tells": tells}}))
        assert calibrated(run).threshold == expected


def test_the_command_shows_support_and_passages(tiny_runs: list[Path]):
    arguments = ["--run", str(tiny_runs[0]), "--engine", "cuda", "--faithful", "--evidence", "-"]
    shown = CliRunner().invoke(command, arguments, input=DOCUMENT)
    assert shown.exit_code == 0
    lines = shown.stdout.splitlines()
    assert any(line.startswith(("  0.", "  1.")) for line in lines)
    assert any(
        line.startswith("        from: ") and line.removeprefix("        from: ")[:20] in DOCUMENT for line in lines
    )
    row = json.loads(CliRunner().invoke(command, [*arguments, "--jsonl"], input=DOCUMENT).stdout)
    assert row["support"] == min(sentence["support"] for sentence in row["sentences"])


def test_a_vote_takes_neither(tiny_runs: list[Path]):
    runs = [word for run in tiny_runs for word in ("--run", str(run))]
    refused = CliRunner().invoke(command, [*runs, "--ensemble", "vote", "--faithful", "-"], input=DOCUMENT)
    assert refused.exit_code == 2
    assert "leave out --ensemble vote" in refused.stderr
