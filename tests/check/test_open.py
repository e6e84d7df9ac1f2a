"""From a name to a checker, and what becomes of summaries that a checker could not rate."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from common.check.calibration import calibrate
from common.check.encoder import PairChecker, TokenChecker
from common.check.open import open_checker
from common.check.results import CheckResults, support_figures
from common.check.server import ServerChecker
from common.check.support import Checked, DocumentSummary, Evidence, SentenceSupport
from common.cli.main import group, run
from common.errors import RemoteError, UsageError
from tests.check.encoders import NLI, TOKENS, build_classifier
from tests.remote.servers import FaultyProxy, LlamaServer

RATED = Checked((SentenceSupport(0, 4, 0.75, (Evidence(0, 9, 0.5),)),))
UNRATED = Checked((SentenceSupport(0, 4, 0.9), SentenceSupport(5, 9, math.nan, failure="too long")))


def test_names_lead_to_checkers(llama: LlamaServer, tmp_path: Path) -> None:
    for url in (f"{llama.url}#tiny", llama.url, f"{llama.url}/v1"):
        checker = open_checker(url)
        assert isinstance(checker, ServerChecker)
        assert checker.name == "tiny"
    assert isinstance(open_checker(build_classifier(tmp_path / "pairs", "bert", NLI)), PairChecker)
    tokens = open_checker(build_classifier(tmp_path / "tokens", "bert", TOKENS, of_tokens=True))
    assert isinstance(tokens, TokenChecker)
    assert tokens.name == "tokens"
    with pytest.raises(RemoteError, match=r"--allow-remote 192\.0\.2\.7"):
        open_checker("http://192.0.2.7/v1#m")
    assert open_checker("http://192.0.2.7/v1#m", allow_remote="192.0.2.7").name == "m"
    with pytest.raises(UsageError, match=r"--checker rule: .*did you mean rules\?; give rules, built-in, an encoder's"):
        open_checker("rule")


def test_summaries_that_could_not_be_rated_do_not_count_and_are_counted() -> None:
    assert math.isnan(UNRATED.support)
    assert UNRATED.failure == "too long"
    figures = support_figures([RATED, UNRATED, RATED], 0.5)
    assert figures["unrated"] == 1
    assert figures["support"]["mean"] == 0.75
    assert "unrated" not in support_figures([RATED], 0.5)
    with pytest.raises(RemoteError, match="could rate none of 2 summaries: too long"):
        support_figures([UNRATED, UNRATED], 0.5)
    row = CheckResults((RATED, UNRATED), None, 0.5, "m").row(1)
    assert (row["support"], row["supported"]) == (None, None)
    assert row["sentences"][1] == {"start": 5, "end": 9, "support": None, "evidence": (), "failure": "too long"}
    assert "failure" not in row["sentences"][0]


def test_a_calibration_leaves_out_what_could_not_be_rated(proxy: FaultyProxy) -> None:
    rows = [("Oyuna paid 40 crowns in Vell on Monday.", "Oyuna paid 40 crowns."), ("Ines won.", "Ines won in Vell.")]
    checker = open_checker(f"{proxy.url}#tiny")
    whole = calibrate(checker, rows, each=2)
    assert whole is not None
    proxy.faults = [{"choices": []}]
    partly = calibrate(checker, rows, each=2)
    assert partly is not None
    assert partly.true_summaries + partly.planted == whole.true_summaries + whole.planted - 1
    proxy.every = "no logprobs and no content"
    assert calibrate(checker, rows, each=2) is None


def test_the_command_checks_by_a_server_and_says_what_was_not_rated(
    proxy: FaultyProxy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"id": "a", "document": "It rains in Vell on Monday.", "summary": "It rains."},
        {"id": "b", "document": "Ines paid 40 crowns.", "summary": "the road and " * 900},
    ]
    file, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    command = ["check", str(file), "--checker", f"{proxy.url}#tiny", "--per-example", str(out), "--json"]
    assert run(group, command) == 1
    assert "larger" in capsys.readouterr().err
    rows[1]["summary"] = "It cost 40 crowns."
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert run(group, command) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["examples"] == 2
    assert figures["checker"]["name"] == "tiny"
    written = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [row["id"] for row in written] == ["a", "b"]
    (items,) = [open_checker(f"{proxy.url}#tiny").check([DocumentSummary(rows[0]["document"], rows[0]["summary"])])]
    assert written[0]["support"] == pytest.approx(items[0].support, abs=0.01)
