"""Several runs as one: the vote takes the summary nearest to the others, the average is exact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from common.errors import AdapterError, ConfigError
from common.model.adapter import lora_a_name, lora_b_name, read_adapter
from common.summarize.ensemble import VotingSummarizer, average_adapters, elect, load_ensemble, vote
from common.summarize.summarizer import Summarizer
from common.summarize.summary import Summary, SummaryOptions
from tests.tiny_runs import build_tiny_run

TEXTS = ["The council voted on Monday to close the old bridge.", "She wrote to the team that the release is late."]


def test_the_vote_takes_the_text_nearest_to_the_others_and_the_first_of_equals() -> None:
    assert vote(["the ferry stays open", "cats sleep", "the night ferry stays"]) in (0, 2)
    assert vote(["cats sleep", "the ferry stays open", "the night ferry stays open today"]) == 1
    assert vote(["a b", "a b", "a b"]) == 0
    assert vote(["only one"]) == vote(["one", "two"]) == 0


def test_failed_candidates_do_not_stand() -> None:
    good = Summary("the ferry stays", "eos", 5, 3)
    failed = Summary("", "error", 5, 0, error="NaN")
    elected = elect([failed, good, good])
    assert (elected.text, elected.error, elected.prompt_tokens, elected.tokens) == ("the ferry stays", "", 15, 6)
    assert elected.candidates == ("", "the ferry stays", "the ferry stays")
    assert elect([failed, failed, failed]).error == "NaN"


def test_the_averaged_adapter_adds_the_mean_of_what_the_runs_add(
    tiny_runs: list[Path], tiny_base: Path, tmp_path: Path
) -> None:
    wide = build_tiny_run(tmp_path / "wide", tiny_base, seed=7, rank=6)
    stored = [read_adapter(run / "adapter") for run in (tiny_runs[0], tiny_runs[1], wide)]
    weights, lora = average_adapters(stored)
    assert lora.rank == 4 + 4 + 6
    assert lora.scale == 1.0
    paths = [name[len("base_model.model.") : -len(".lora_A.weight")] for name in weights if "lora_A" in name]
    for path in paths:
        added = [
            adapter.lora.scale * adapter.weights[lora_b_name(path)] @ adapter.weights[lora_a_name(path)]
            for adapter in stored
        ]
        average = weights[lora_b_name(path)] @ weights[lora_a_name(path)]
        np.testing.assert_allclose(average, np.mean(added, axis=0), atol=1e-5)
        assert np.abs(added[0] - added[1]).max() > 1e-3


@pytest.mark.parametrize("engine", ["cuda", "mlx"])
def test_the_average_of_a_run_with_itself_is_the_run(tiny_runs: list[Path], engine: str) -> None:
    tokens = np.arange(1, 21).reshape(1, 20)
    alone = Summarizer.load(tiny_runs[0], engine=engine)
    both = load_ensemble([tiny_runs[0], tiny_runs[0]], "average", engine)
    other = load_ensemble([tiny_runs[0], tiny_runs[1]], "average", engine)
    assert isinstance(both, Summarizer)
    assert isinstance(other, Summarizer)
    np.testing.assert_allclose(both.engine.logits(tokens), alone.engine.logits(tokens), atol=2e-4)
    assert np.abs(other.engine.logits(tokens) - alone.engine.logits(tokens)).max() > 1e-2


def test_a_voting_ensemble_gives_one_of_its_members_texts_and_all_candidates(tiny_runs: list[Path]) -> None:
    ensemble = load_ensemble(tiny_runs, "vote", "cuda")
    assert isinstance(ensemble, VotingSummarizer)
    pieces: list[tuple[int, str]] = []
    summaries = ensemble.summarize_all(TEXTS, SummaryOptions(), lambda index, piece: pieces.append((index, piece)))
    for index, summary in enumerate(summaries):
        own = tuple(member.summarize(TEXTS[index]).text for member in ensemble.members)
        assert summary.candidates == own
        assert summary.text == own[vote(own)]
    assert pieces == [(0, summaries[0].text), (1, summaries[1].text)]


def test_runs_that_cannot_be_combined_are_refused_with_the_reason(
    tiny_runs: list[Path], tiny_base: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="at least 3 runs, 2 given"):
        load_ensemble(tiny_runs[:2], "vote")
    with pytest.raises(ConfigError, match="at least 2 runs"):
        load_ensemble(tiny_runs[:1], "average")
    other = build_tiny_run(tmp_path / "other", tiny_base, template="prefix")
    with pytest.raises(ConfigError, match="their prompt template differs; use vote"):
        load_ensemble([tiny_runs[0], other], "average")
    first = read_adapter(tiny_runs[0] / "adapter")
    fewer = type(first)({name: value for name, value in first.weights.items() if "q_proj" in name}, first.lora, "")
    with pytest.raises(AdapterError, match="on different layers"):
        average_adapters([first, fewer])
