"""The judge: both orders asked, wins only where they agree, and its figures by hand."""

from __future__ import annotations

import math

import pytest

from common.check.judge import QUESTION, JudgedPair, JudgeResult, judge_pairs
from common.errors import DataError, RemoteError
from common.remote.client import ChatClient
from tests.remote.servers import FaultyProxy, LlamaServer

DOCUMENTS = [f"The {thing} closed on Monday for repairs." for thing in ("bridge", "market", "school", "mill", "dam")]
OURS = [
    "The bridge is closed.",
    "The market closed Monday.",
    "School is out.",
    "The mill burned.",
    "Repairs on Monday.",
]
THEIRS = ["It rains.", "The market is open.", "The school closed for repairs.", "The mill closed.", "A dam closed."]


def letters(**shares: float) -> dict[str, object]:
    """An answer with these probabilities of A and B."""
    top = [{"token": letter, "logprob": math.log(p)} for letter, p in shares.items()]
    content = [{**max(top, key=lambda one: one["logprob"]), "top_logprobs": top}]  # type: ignore[arg-type,return-value]
    return {"choices": [{"message": {"content": "A"}, "finish_reason": "stop", "logprobs": {"content": content}}]}


def one_at_a_time(proxy: FaultyProxy) -> ChatClient:
    from common.remote.client import Patience

    return ChatClient(proxy.url, "tiny", patience=Patience(at_once=1), sleep=lambda seconds: None)


def test_changing_sides_changes_wins_into_losses_and_keeps_flips(llama: LlamaServer) -> None:
    client = ChatClient(llama.url, "tiny")
    result, mirrored = judge_pairs(DOCUMENTS, OURS, THEIRS, client), judge_pairs(DOCUMENTS, THEIRS, OURS, client)
    for pair, other in zip(result.pairs, mirrored.pairs, strict=True):
        assert pair.ours_first == pytest.approx(1 - other.ours_second, abs=0.01)
        assert pair.ours_second == pytest.approx(1 - other.ours_first, abs=0.01)
    assert len({round(pair.ours_first, 2) for pair in result.pairs}) > 1
    assert result.model == "tiny"
    assert result.count("failed") == 0


def test_a_win_needs_both_orders(proxy: FaultyProxy) -> None:
    a, b = letters(A=0.7, B=0.2), letters(A=0.1, B=0.8)
    proxy.faults = [a, b, b, a, a, a, b, b]  # ours first, then ours second
    result = judge_pairs(DOCUMENTS[:4], OURS[:4], THEIRS[:4], one_at_a_time(proxy), "judge")
    assert [pair.outcome for pair in result.pairs] == ["win", "loss", "flip", "flip"]
    assert result.pairs[0].ours_first == pytest.approx(0.7 / 0.9)
    assert result.pairs[0].ours_second == pytest.approx(0.8 / 0.9)
    assert result.flip_rate == 50
    rate = result.win_rate()
    assert rate is not None
    assert rate.mean == 50
    assert result.as_dict()["wins"] == 1
    first, second = (body["messages"][0]["content"] for body in proxy.seen[:2])
    assert first == QUESTION.format(document=DOCUMENTS[0], first=OURS[0], second=THEIRS[0])
    assert second == QUESTION.format(document=DOCUMENTS[0], first=THEIRS[0], second=OURS[0])


def test_equal_summaries_are_not_asked_about_and_failures_are_not_counted(proxy: FaultyProxy) -> None:
    proxy.faults = [letters(A=0.9, B=0.1), {"choices": [{"message": {"content": "Both."}}]}]
    result = judge_pairs(DOCUMENTS[:2], OURS[:2], [OURS[0] + " ", THEIRS[1]], one_at_a_time(proxy))
    assert [pair.outcome for pair in result.pairs] == ["same", "failed"]
    assert len(proxy.seen) == 2
    assert "answered neither a nor b but 'Both.'" in result.pairs[1].failure
    assert math.isnan(result.flip_rate)
    assert result.as_dict()["flip_rate"] is None
    rate = result.win_rate()
    assert rate is not None
    assert rate.mean == 50


def test_unpaired_lists_and_a_missing_server_are_refused(proxy: FaultyProxy) -> None:
    client = one_at_a_time(proxy)
    with pytest.raises(DataError, match="5 documents, 5 and 4 summaries"):
        judge_pairs(DOCUMENTS, OURS, THEIRS[:4], client)
    proxy.faults = [403]
    with pytest.raises(RemoteError, match="access denied"):
        judge_pairs(DOCUMENTS, OURS, THEIRS, client)


def test_agreement_with_people_is_krippendorffs_alpha() -> None:
    outcomes = ("win", "loss", "win", "loss", "flip", "failed")
    result = JudgeResult("m", tuple(JudgedPair(outcome) for outcome in outcomes))
    nan = math.nan
    assert result.agreement([2, -1, 0.5, -3, 0, 1]) == pytest.approx(1)
    assert result.agreement([-1, 1, -1, 1, 0, nan]) < 0  # type: ignore[operator]
    # Judge 1 -1 1 -1, people 1 -1 -1 -1: 8 values, 3 of 1 and 5 of -1; observed disagreement 2 of 8, expected 30 of 56.
    assert result.agreement([1, -1, -1, -1, nan, nan]) == pytest.approx(1 - (2 / 8) / (30 / 56))
    assert result.agreement([nan] * 5 + [1]) is None
    assert JudgeResult("m", result.pairs[:1]).agreement([1]) is None
    with pytest.raises(DataError, match="3 judgments of people for 6 pairs"):
        result.agreement([1, 2, 3])
    assert JudgeResult("m", (JudgedPair("failed"),)).win_rate() is None
